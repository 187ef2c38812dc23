"""*Decisions*: the newest ones, and one of them explained: what was asked, what was answered, and why."""

from html import escape
from typing import Any
from urllib.parse import quote

from api.dashboard.tables import Link, Table
from api.decisions import describe_slate
from api.schemas import DecisionReply
from api.service import Service
from api.values import rfc3339
from online import records
from online.log import LogReader

PAGE = 50
_LOOKED_AT_MAX = 20_000
_PIECE = 1_000


def tag_of(payload: bytes) -> bytes:
    """The tag of a record, without decoding it: behind the head of its array.

    >>> tag_of(records.encode(records.Tally(received_ms=5)))
    b't1'
    """
    start = 2 if payload[:1] < b"\xdc" else 4
    return payload[start : start + 2]


def address_of(decision_id: str) -> str:
    """Where a decision is explained."""
    return f"/dashboard/decision?id={quote(decision_id, safe='')}"


async def decisions(service: Service, *, user: str, arm: str, before: int) -> tuple[Table, int | None]:
    """The newest decisions before a position; and the position to go on from, None at the log's beginning.

    Looks at _LOOKED_AT_MAX records at most: the table stays quick in a log of any length.
    """
    found: list[tuple[int, records.Decision]] = []
    end = before or await service.read(lambda reader: reader.head()) + 1
    looked = 0
    while end > 1 and looked < _LOOKED_AT_MAX and len(found) < PAGE:
        after = max(0, end - 1 - _PIECE)
        entries = await service.read(_piece(after, end - 1 - after))
        looked += len(entries)
        for position, payload in reversed(entries):
            end = position
            if tag_of(payload) != b"d1":
                continue
            decision = records.decode(payload)
            if not isinstance(decision, records.Decision) or (user and decision.user_id != user):
                continue
            if arm and records.ARMS[decision.arm] != arm:
                continue
            found.append((position, decision))
            if len(found) == PAGE:
                break
        if not entries:
            break
    columns = ("position", "decided at", "user", "arm", "first items", "staleness, ms", "client", "decision")
    rows: list[Any] = [
        (
            position,
            rfc3339(one.at_ms),
            Link(one.user_id, f"/dashboard/decisions?user={quote(one.user_id, safe='')}"),
            records.ARMS[one.arm],
            ", ".join(one.item_ids[:3]),
            one.staleness_ms,
            one.client,
            Link(one.decision_id, address_of(one.decision_id)),
        )
        for position, one in found
    ]
    query = {"user": user, "arm": arm, "before": str(before) if before else ""}
    empty = f"none among the last {looked:,} records"
    table = Table(
        name="decisions", caption="Decisions, newest first", columns=columns, rows=rows, query=query, empty=empty
    )
    return table, end if end > 1 else None


def _piece(after: int, count: int) -> Any:
    def read(reader: LogReader) -> list[tuple[int, bytes]]:
        return reader.read(after, count, 0)

    return read


async def slate(service: Service, decision_id: str) -> tuple[DecisionReply, Table]:
    """One decision, and its slate as a table. Raises Problem."""
    found = await describe_slate(service, decision_id)
    return found, slate_table(found)


def slate_table(found: DecisionReply) -> Table:
    """The slate of a decision, position by position."""
    columns = ("position", "item", "score", "propensity", "because")
    rows: list[Any] = [
        (
            one.position,
            one.item_id,
            one.score,
            one.propensity,
            ", ".join(f"{term.expert} {term.contribution:+.3f}" for term in one.because),
        )
        for one in found.items
    ]
    caption = "The slate, position by position: propensity = P(this item here | those above)"
    return Table(name="slate", caption=caption, columns=columns, rows=rows, query={"id": found.decision_id})


def explained(found: DecisionReply, slate: Table) -> str:
    """The page's HTML."""
    facts = [
        ("decision", found.decision_id),
        ("user", found.user_id),
        ("decided at", found.decided_at),
        ("arm", found.model.arm),
        ("asked by", found.client or "this machine, without a key"),
        ("stands at", f"position {found.log_position:,}"),
        ("decided from", f"position {found.model.position:,}, artifact {found.model.artifact or 'none'}"),
        ("staleness", f"{found.model.staleness_ms} ms"),
        ("context", ", ".join(f"{name} = {value}" for name, value in (found.context or {}).items()) or "none"),
        ("candidates", "the whole catalogue" if found.candidates is None else f"{len(found.candidates):,} given"),
        ("left out by rule", ", ".join((found.exclude or [])[:20]) or "nothing asked for"),
    ]
    told = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts)
    address = quote(found.decision_id, safe="")
    return (
        f'<dl class="facts">{told}</dl>'
        f'<p><button data-reproduce="/v1/decisions/{address}/reproduce">Reproduce</button> '
        f'<a class="button" href="/dashboard/learning?id={address}">What was learned from it?</a> '
        f'<a class="button" href="/v1/decisions/{address}">.json</a></p>'
        f'<output id="reproduced" aria-live="polite"></output>{slate.html()}'
    )
