"""The pages beside the dashboard: what each problem means. Plain HTML, nothing fetched."""

from collections.abc import Sequence
from html import escape

from fastapi import Response

from api.problems import CATALOGUE, Kind

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem .3rem 0;"
    "vertical-align:top;border-bottom:1px solid #ddd}"
    "textarea{width:100%;box-sizing:border-box}output{display:block;white-space:pre-wrap;overflow-x:auto}"
    "textarea,output{font:13px/1.4 ui-monospace,monospace}h2{margin-top:2.5rem}code{overflow-wrap:anywhere}"
    ".red{color:#a40000;font-weight:600}.green{color:#1a6b1a}"
    "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}td,th{border-color:#444}"
    "a{color:#8ab4f8}.red{color:#ff8a80}.green{color:#81c784}}"
)


def problems_page() -> Response:
    """Every code that an error can have."""
    rows = [
        (
            f'<a href="/problems/{kind.code}"><code>{kind.code}</code></a>',
            str(kind.status),
            escape(kind.title),
        )
        for kind in CATALOGUE.values()
    ]
    return page("Problems", _table(("code", "status", "meaning"), rows))


def problem_page(kind: Kind) -> Response:
    """One code: what the `type` of a problem points at."""
    body = (
        f"<p>Status {kind.status}, code <code>{kind.code}</code>.</p>"
        f"<h2>What to do</h2><p>{escape(kind.cure)}</p>"
        '<p><a href="/problems">All problems</a> · <a href="/docs">API</a></p>'
    )
    return page(kind.title, body)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["<table>"]
    if any(head):
        lines.append("<tr>" + "".join(f"<th>{name}</th>" for name in head) + "</tr>")
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return "".join([*lines, "</table>"])


def page(title: str, body: str, *, script: str = "", status: int = 200) -> Response:
    """A whole page. `title` is text, `body` is HTML, `script` the address of a script of our own."""
    loaded = f'<script src="{script}"></script>' if script else ""
    document = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{body}{loaded}</body></html>"
    )
    return Response(document, status_code=status, media_type="text/html; charset=utf-8", headers=_HEADERS)
