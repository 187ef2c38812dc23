"""*Operate*: freeze and resume; go back, or live on without some records: seen first, then confirmed, and undone again.

The page asks the same calls as everybody (`/v1/acts`, `/v1/rollbacks`): what it may do is what the key may do.
"""

from html import escape
from typing import Any

import msgspec

from api.service import Service


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go back to, and what to leave out; "" is not given."""

    snapshot: str = ""
    position: str = ""
    user: str = ""
    users: tuple[str, ...] = ()  # more of them
    client: str = ""
    event: str = ""

    def body(self) -> dict[str, Any]:
        """As POST /v1/rollbacks takes it; empty where nothing was asked for."""
        body: dict[str, Any] = {}
        if self.snapshot:
            body["to"] = {"snapshot": self.snapshot}
        elif self.position.isascii() and self.position.isdigit():
            body["to"] = {"position": int(self.position)}
        users = [one for one in (self.user, *self.users) if one]
        clients, events = [self.client] if self.client else [], [self.event] if self.event else []
        named = (("users", users), ("clients", clients), ("events", events))
        without = {name: some for name, some in named if some}
        return body | ({"without": without} if without else {})


_FIELDS = (
    ("snapshot", "To a snapshot"),
    ("position", "or to a position"),
    ("user", "Without this user"),
    ("client", "Without this client"),
    ("event", "Without this event"),
)


def operate(service: Service, wanted: Wanted) -> str:
    """The page's HTML; its script asks for the preview."""
    model = service.model_if_ready
    learning = model.learning if model is not None else "not ready"
    other = "freeze" if learning == "on" else "resume"
    parts = [
        f'<h2>Learning is <span class="{"good" if learning == "on" else "bad"}">{escape(learning)}</span></h2>'
        f'<form class="search" data-act="{other}"><label>Why <input name="reason" required maxlength="1000"></label>'
        f'<button>{other.capitalize()}</button></form><output id="acted" aria-live="polite"></output>',
        '<h2>Go back, or live on without</h2><form class="search" action="/dashboard/operate">',
    ]
    for name, label in _FIELDS:
        value = escape(getattr(wanted, name))
        parts.append(f'<label>{label} <input name="{name}" value="{value}" spellcheck="false"></label>')
        if name == "user" and wanted.users:
            parts += [f'<input type="hidden" name="user" value="{escape(one)}">' for one in wanted.users]
            parts.append(f'<span class="quiet">and {len(wanted.users):,} more</span>')
    parts.append("<button>Preview</button></form>")
    body = wanted.body()
    if body:
        asked = escape(msgspec.json.encode(body).decode())
        parts.append(
            f'<div id="rollback" data-asked="{asked}"><dl class="facts" id="preview" aria-live="polite">'
            "<dt>Preview</dt><dd>folding the log …</dd></dl>"
            '<form class="search" id="confirm" hidden>'
            '<label>Why <input name="reason" required maxlength="1000"></label>'
            '<label>Type <strong>roll back</strong> to confirm <input name="typed" autocomplete="off" required '
            'pattern="roll back"></label><button disabled>Roll back</button></form>'
            '<output id="rolled" aria-live="polite"></output></div>'
        )
    else:
        parts.append(
            "<p>Nothing is lost by going back: what is left behind stays in the log, and rolling back to where you are"
            " now undoes it. A preview says first what would change.</p>"
        )
    return "".join(parts)
