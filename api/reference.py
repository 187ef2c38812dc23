"""/docs: every call with its schema and an example that can be sent from the page, out of the OpenAPI document.

One page that this service writes itself: it works without a network, and fetches nothing from elsewhere.
"""

import json
import re
from html import escape
from importlib import resources
from typing import Any

from fastapi import Response

from api.pages import page

_CODE = re.compile(r"`([^`]+)`")


def reference_page(document: dict[str, Any]) -> Response:
    """The page of the whole document."""
    parts = [
        f"<p>{escape(document['info']['summary'])}</p>",
        '<p><a href="/">Status</a> · <a href="/openapi.json">openapi.json</a> · <a href="/problems">problems</a> · '
        '<a href="#schemas">schemas</a></p>',
        _contents(document),
    ]
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            parts.append(_operation(path, method, described))
    parts.append('<h2 id="schemas">Schemas</h2>')
    parts += [_schema(name, found) for name, found in sorted(document["components"]["schemas"].items())]
    return page(f"{document['info']['title']} API", "".join(parts), script="/docs.js")


def reference_script() -> Response:
    """The page's script."""
    text = resources.files("api").joinpath("docs.js").read_text("utf-8")
    return Response(text, media_type="text/javascript; charset=utf-8", headers={"X-Content-Type-Options": "nosniff"})


def _contents(document: dict[str, Any]) -> str:
    rows = [
        f'<tr><td><a href="#{_anchor(path, method)}"><code>{method.upper()} {escape(path)}</code></a></td>'
        f"<td>{escape(described['summary'])}</td></tr>"
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]
    return f"<table>{''.join(rows)}</table>"


def _operation(path: str, method: str, described: dict[str, Any]) -> str:
    content = described.get("requestBody", {}).get("content", {}).get("application/json")
    parts = [
        f'<h2 id="{_anchor(path, method)}"><code>{method.upper()} {escape(path)}</code></h2>',
        f"<p>{escape(described['summary'])}.</p>",
        f'<form data-path="{escape(path)}" data-method="{method.upper()}">',
    ]
    for parameter in described.get("parameters", ()):
        name = escape(parameter["name"])
        kind = "parameter" if parameter["in"] == "path" else "header"
        told = _text(parameter.get("description", ""))
        parts.append(f'<label>{name} <input data-{kind}="{name}" placeholder="{kind}"></label> {told}<br>')
    if content is not None:
        example = json.dumps(content.get("example", {}), indent=2, ensure_ascii=False)
        parts.append(f"<p>Body: {_link(content['schema'])}</p>")
        parts.append(f'<textarea rows="{example.count(chr(10)) + 2}" spellcheck="false">{escape(example)}</textarea>')
    parts.append("<p><button>Send</button></p><output></output></form>")
    rows = []
    for status, response in sorted(described["responses"].items()):
        contents: list[dict[str, Any]] = list(response.get("content", {}).values())
        schema = contents[0].get("schema", {}) if contents else {}
        rows.append(
            f"<tr><td>{status}</td><td>{_text(response.get('description', ''))}</td><td>{_link(schema)}</td></tr>"
        )
    parts.append(f"<table>{''.join(rows)}</table>")
    return "".join(parts)


def _schema(name: str, found: dict[str, Any]) -> str:
    required = set(found.get("required", ()))
    rows = [
        f"<tr><td><code>{escape(field)}</code>{' *' if field in required else ''}</td><td>{_kind(described)}</td></tr>"
        for field, described in found.get("properties", {}).items()
    ]
    told = _text(found.get("description", ""))
    return f'<h3 id="schema-{escape(name)}">{escape(name)}</h3><p>{told}</p><table>{"".join(rows)}</table>'


def _kind(described: dict[str, Any]) -> str:
    """A field's type in words."""
    if "$ref" in described:
        return _link(described)
    if "anyOf" in described:
        return " or ".join(_kind(one) for one in described["anyOf"])
    if "enum" in described:
        return " or ".join(f"<code>{escape(json.dumps(one))}</code>" for one in described["enum"])
    kind: str = described.get("type", "anything")
    if kind == "array":
        kind = f"list of {_kind(described.get('items', {}))}"
    elif kind == "object":
        kind = f"object of {_kind(described.get('additionalProperties') or {})}"
    bounds = [
        f"{name} {described[key]}"
        for key, name in (
            ("format", "as"),
            ("minimum", "from"),
            ("maximum", "to"),
            ("minLength", "at least"),
            ("maxLength", "at most"),
            ("minItems", "at least"),
            ("maxItems", "at most"),
            ("maxProperties", "at most"),
            ("default", "default"),
        )
        if described.get(key) is not None
    ]
    return kind + (f" ({', '.join(bounds)})" if bounds else "")


def _link(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    return f'<a href="#schema-{escape(name)}">{escape(name)}</a>' if name else ""


def _text(told: str) -> str:
    """Plain text with `code` in it."""
    return _CODE.sub(r"<code>\1</code>", escape(told))


def _anchor(path: str, method: str) -> str:
    return method + re.sub(r"[^a-z0-9]+", "-", path.lower()).rstrip("-")
