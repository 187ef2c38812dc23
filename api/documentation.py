"""The reference, out of the code: `make docs`, or `python -m api.documentation FOLDER`.

Calls, commands, errors, metrics and settings each have one place where they are declared; this writes what stands
there. Whatever stands there without a word about itself is refused: Undocumented.
"""

import ast
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import typer.main

from api.command import cli
from api.configuration import SERVICE
from api.console import EXIT_CODES
from api.problems import CATALOGUE
from api.scopes import DESCRIBED, SCOPES, scope_of
from online.settings import Settings

_SOURCE = Path(__file__).resolve().parent
_FAMILIES = ("Counter", "Histogram", "Gauge", "CounterMetricFamily", "GaugeMetricFamily")

# What is said about a setting stands behind it in the source; what needs more than that, here.
_SETTINGS = {
    "seed": "of all chance in decisions; the same log under another seed explores elsewhere",
    "events": "what each type of event means: its reward, and the weight with which its item counts as taken",
    "caps": "at most so many items of a slate share a value of a feature",
    "users_max": "users known at a time; beyond, those not seen for longest are given back",
    "items_max": "items known at a time; likewise",
    "recommendation": "hyperparameters of the recommender's learners",
    "pricing": "hyperparameters of pricing",
    "pricing.hold_max_s": "the longest that a traveller may ask a fare to be held",
    "pricing.flights_max": "flights known at a time",
    "pricing.markets_max": "markets known at a time",
    "pricing.level_keep_per_day": "of a market's level of arrivals, from one day to the next",
    "pricing.cancel_keep_per_day": "of what is known about cancellations, from one day to the next",
    "recommendation.around_prior": "takes of nothing that the memory of what is near holds",
    "recommendation.context_prior": "takes of nothing that the memory of contexts holds",
    "recommendation.slate_weight": "what a take out of a slate counts in popularity, which would echo the slates",
    "recommendation.mixing_all_until": "events after which the mixing weights learn from every `mixing_every`-th",
    "recommendation.bias_rate": "AdaGrad's step of the items' biases",
}


class Undocumented(Exception):
    """Something is declared and not described; the message says what, and where a word belongs."""


def commands() -> str:
    """Every command with its help, its options and its example."""
    parts = [f"# Commands\n\n{EXIT_CODES} Results go to stdout, talk to stderr."]
    for words, command in _walk(typer.main.get_command(cli()), ()):
        if not command.help or "Example: " not in command.help:
            raise Undocumented(f"perennial {' '.join(words)}: its docstring needs a sentence and an example")
        told, _, example = command.help.partition("Example: ")
        parts.append(f"## perennial {' '.join(words)}\n\n{told.strip()}\n\n```sh\n{example.strip()}\n```\n")
        rows = []
        for parameter in command.params:
            if parameter.name == "help":
                continue
            names = ", ".join(f"`{name}`" for name in parameter.opts) if hasattr(parameter, "help") else parameter.name
            if not getattr(parameter, "help", ""):
                raise Undocumented(f"perennial {' '.join(words)} {names}: give it a help=")
            variable = getattr(parameter, "envvar", None)
            rows.append(f"| {names} | {parameter.help} | {f'`{variable}`' if variable else ''} |")
        if rows:
            parts.append("| option | | environment |\n|---|---|---|\n" + "\n".join(rows))
    return "\n".join(parts) + "\n"


def _walk(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(group, "commands", None)
    if inner is None:
        yield words, group
        return
    for name, command in inner.items():
        yield from _walk(command, (*words, name))


def calls() -> str:
    """Every call with its scope, its body, its answers and its refusals."""
    from api.app import create_app
    from api.settings import ServiceSettings

    with tempfile.TemporaryDirectory() as folder:
        edge: Any = create_app(ServiceSettings(home=Path(folder), log_url="redis://127.0.0.1:1"))
        document = edge.document()
    scopes = "\n".join(f"- `{scope}`: {DESCRIBED[scope]}" for scope in SCOPES)
    parts = [f"# HTTP\n\nKeys have scopes (`perennial keys create`):\n\n{scopes}\n"]
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            name = f"{method.upper()} {path}"
            if not described.get("summary"):
                raise Undocumented(f"{name}: give its route a summary=")
            scope = scope_of(method.upper(), re.sub(r"\{[^}]*\}", "x", path))
            parts.append(f"## {name}\n\n{described['summary']}. Scope: {f'`{scope}`' if scope else 'none'}.\n")
            body = described.get("requestBody", {}).get("content", {}).get("application/json", {})
            if body.get("example") is not None:
                parts.append(f"```json\n{json.dumps(body['example'], indent=1, ensure_ascii=False)}\n```\n")
            rows = [
                f"| {status} | {answer.get('description', '')} |"
                for status, answer in sorted(described["responses"].items())
            ]
            parts.append("| status | |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def errors() -> str:
    """The catalogue: every code, what it means, and what to do."""
    rows = []
    for kind in CATALOGUE.values():
        if not (kind.title and kind.cure):
            raise Undocumented(f"problem {kind.code}: it needs a title and a cure")
        rows.append(f"| `{kind.code}` | {kind.status} | {kind.title} | {kind.cure} |")
    head = "# Errors\n\nEvery error is `application/problem+json` (RFC 9457) with one of these codes.\n\n"
    return head + "| code | status | meaning | what to do |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def metrics() -> str:
    """Every family of metrics: as they are declared in the source."""
    rows = [f"| `{name}` | {told} |" for name, told in sorted(_families())]
    return "# Metrics\n\nAt `/metrics`, for Prometheus.\n\n| name | |\n|---|---|\n" + "\n".join(rows) + "\n"


def _families() -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse((_SOURCE / "metrics.py").read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FAMILIES):
            continue
        texts = [one.value for one in node.args[:2] if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        if len(texts) != 2 or not texts[1]:
            raise Undocumented(f"api/metrics.py, line {node.lineno}: a metric has a name and a sentence")
        yield texts[0], texts[1]


def settings() -> str:
    """Every setting with its default: of the service, and of learning and deciding."""
    rows = [f"| `{name}` | `{default}` | `{variable}` |" for name, variable, default in SERVICE]
    parts = ["# Settings\n\nOf `perennial up`:\n\n| option | default | environment |\n|---|---|---|", *rows]
    parts.append(
        "\nOf learning and deciding, in the file that `perennial up --settings` takes. They count where the log is"
        " still empty; then they stand in its first record.\n\n| key | default | |\n|---|---|---|"
    )
    parts += [f"| `{name}` | `{default}` | {told} |" for name, default, told in _described(Settings, "")]
    return "\n".join(parts) + "\n"


def _described(struct: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, str, str]]:
    comments = _comments(Path(sys.modules[struct.__module__].__file__ or ""), struct.__name__)
    defaults = struct()
    for field in msgspec.structs.fields(struct):
        name, value = prefix + field.encode_name, getattr(defaults, field.encode_name)
        told = _SETTINGS.get(name) or comments.get(field.encode_name, "")
        if not told:
            raise Undocumented(f"setting {name}: write a comment behind it, or a line in api/documentation.py")
        if isinstance(value, msgspec.Struct):
            yield name, "", told
            yield from _described(type(value), f"{name}.")
        else:
            yield name, "…" if isinstance(value, dict) else json.dumps(value), told


def _comments(path: Path, name: str) -> dict[str, str]:
    """What stands behind each field of a class."""
    source = path.read_text("utf-8")
    lines = source.splitlines()
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.name == name:
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    _, _, comment = lines[(field.end_lineno or field.lineno) - 1].partition("  # ")
                    found[field.target.id] = comment.strip()
    return found


PAGES = {"commands": commands, "http": calls, "errors": errors, "metrics": metrics, "settings": settings}


def main(arguments: list[str] | None = None) -> int:
    """Write every page into a folder."""
    given = sys.argv[1:] if arguments is None else arguments
    folder = Path(given[0] if given else "build/docs")
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / f"{name}.md").write_text(page(), encoding="utf-8")
        print(folder / f"{name}.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
