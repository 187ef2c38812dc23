"""The frame of every page of the dashboard: its views, its script, its style, all of this service's own."""

from html import escape
from importlib import resources

from fastapi import Response

VIEWS = (
    ("/", "Now"),
    ("/dashboard/learning", "Is it learning?"),
    ("/dashboard/decisions", "Decisions"),
    ("/dashboard/timeline", "Timeline"),
    ("/dashboard/catalogue", "Catalogue"),
    ("/dashboard/flights", "Flights"),
    ("/dashboard/health", "Health"),
    ("/dashboard/operate", "Operate"),
)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


def room(view: str, title: str, body: str, *, signed_in: str = "", status: int = 200) -> Response:
    """A whole page. view: its address in VIEWS; `title` is text, `body` is HTML; signed_in: the key's name."""
    links = "".join(
        f'<a href="{address}" accesskey="{number}"{" aria-current=page" if address == view else ""}>'
        f"<kbd>{number}</kbd> {name}</a>"
        for number, (address, name) in enumerate(VIEWS, 1)
    )
    leave = (
        f'<form method="post" action="/logout"><button title="signed in with the key {escape(signed_in)}">'
        "Sign out</button></form>"
        if signed_in
        else ""
    )
    document = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} · Perennial</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        '<link rel="stylesheet" href="/dashboard.css"><script src="/dashboard.js" defer></script></head>'
        '<body><a class="skip" href="#main">To the content</a>'
        f'<header><strong>Perennial</strong><nav aria-label="Views">{links}</nav>'
        f'<span id="pulse" role="status" aria-live="polite">…</span>{leave}</header>'
        f'<main id="main" tabindex="-1"><h1>{escape(title)}</h1>{body}</main>'
        '<footer><a href="/docs">API</a> <a href="/problems">Problems</a> <a href="/metrics">Metrics</a> '
        '<a href="/v1/state">State</a> <span class="quiet">Keys: <kbd>1</kbd>–<kbd>8</kbd> views, '
        "<kbd>/</kbd> search, on a chart <kbd>←</kbd> <kbd>→</kbd></span></footer></body></html>"
    )
    return Response(document, status_code=status, media_type="text/html; charset=utf-8", headers=_HEADERS)


def asset(name: str) -> Response:
    """`dashboard.css` or `dashboard.js`."""
    text = resources.files("api.dashboard").joinpath(name).read_text("utf-8")
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
    return Response(text, media_type=_KINDS[name.rsplit(".", 1)[1]], headers=headers)


def search(action: str, label: str, name: str, value: str, *, button: str = "Search", more: str = "") -> str:
    """A form of one field; `more` is HTML of further fields."""
    return (
        f'<form class="search" role="search" action="{action}"><label>{escape(label)} '
        f'<input type="search" name="{name}" value="{escape(value)}" spellcheck="false" autocomplete="off"></label>'
        f"{more}<button>{escape(button)}</button></form>"
    )
