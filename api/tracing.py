"""What one record taught: which parameters it moved, how the next answer changed, and when that took effect.

    python -m api.tracing --home HOME --log-url URL ID

ID is an event's, a decision's or an act's, or a position of the log. The state before it is built again from the
nearest snapshot, the record is folded, and the same question is asked before and after. A process of its own: nothing
of it slows a worker, and a learner never knows.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from api.home import history_of
from online import records
from online.chance import hash64
from online.fold import Fold
from online.history import History
from online.log import LogError, LogReader
from online.recommendation.decide import Decider, Recommended, Request, recommended
from online.recommendation.layout import LEARNER_COLUMNS
from online.rows import find_row
from online.state import COLUMN_BY_NAME, State
from online.tables import Array, grown
from online.views import bind, read_only

SEARCHED_MAX = 200_000  # records, from the log's end, for an id
_PIECE = 1_000
_FOLLOWED_MAX = 20_000  # records after it, for what named it and for the first decision that knew it
_N = 10
_MOVED_MAX = 40
_ITEMS_MAX = 10


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """One array of parameters: how many of its numbers changed, in how many rows, and by how much at most."""

    parameter: str
    rows: int
    numbers: int
    largest: float
    whose: str  # "shared", or the user whose own state it is


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """An item in the answer to one and the same question, before and after; None: not among the first."""

    item_id: str
    position_before: int | None
    position_after: int | None
    score_before: float | None
    score_after: float | None


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the page shows."""

    position: int
    kind: str
    record: dict[str, Any]
    user_id: str
    learned: bool
    why_not: str
    moved: list[Moved]
    items: list[tuple[str, float]]  # by how far their vectors went
    answer: list[Answered]
    slate_changed: bool
    first_decision: str  # that was made from a state which knew the record; "" where none is recorded yet
    first_decision_position: int
    first_decision_after_ms: int | None
    named_by: list[tuple[str, int]]  # events that named this decision, and where they stand


class NotFound(Exception):
    """No record has this id, as far as was looked."""


def find(reader: LogReader, text: str) -> int:
    """The position of a record by its id, or by the position itself. Raises NotFound."""
    head = reader.head()
    if text.isascii() and text.isdigit() and 1 <= int(text) <= head:
        return int(text)
    needle, end = text.encode("utf-8", "surrogatepass"), head
    while end > 0 and head - end < SEARCHED_MAX:
        after = max(0, end - _PIECE)
        for position, payload in reversed(reader.read(after, end - after, 0)):
            if needle in payload and text in _ids(records.decode(payload)):
                return position
        end = after
    looked = f"the last {SEARCHED_MAX:,} records" if end else f"all {head:,} records"
    raise NotFound(f"no event, decision or act {text!r} among {looked}; a position of the log works for any age")


def _ids(record: records.Record) -> tuple[str, ...]:
    return tuple(str(getattr(record, name, "")) for name in _OWN_ID if type(record).__name__ == _OWN_ID[name])


_OWN_ID = {"event_id": "Event", "decision_id": "Decision", "act_id": "Act"}


def trace(history: History, reader: LogReader, position: int) -> Trace:
    """Fold up to the record, then the record. Raises what building a state raises."""
    payload = reader.entry(position)
    if payload is None:
        raise NotFound(f"the log holds no record at position {position}: it was trimmed, or erased")
    record = records.decode(payload)
    place = history.state_at(max(1, position - 1))
    state = place.state
    user_id = str(getattr(record, "user_id", ""))
    before = _parameters(state, user_id)
    asked = _question(record, user_id)
    answered_before = _answer(state, asked)
    was_on = bool(state.views.frame.learning[0])
    counters = state.views.frame.counters.copy()
    if position > 1:
        Fold(state).entries([(position, record)])
    after = _parameters(state, user_id)
    moved = _moved(before, after, user_id)
    answered_after = _answer(state, asked)
    shared = [one for one in moved if one.whose == "shared"]
    follow = _follow(reader, position, record)
    return Trace(
        position=position,
        kind=type(record).__name__.lower(),
        record=_shown(record),
        user_id=user_id,
        learned=bool(shared),
        why_not="" if shared else _why_not(record, was_on, state, counters),
        moved=moved[:_MOVED_MAX],
        items=_items(state, before, after),
        answer=_compared(answered_before, answered_after),
        slate_changed=[one.item_id for one in answered_before] != [one.item_id for one in answered_after],
        **follow,
    )


def _parameters(state: State, user_id: str) -> dict[str, Array]:
    """Copies of what is shared, by name, and of the user's own row."""
    found = {name: array.copy() for name, array in state.parameters().items()}
    row = int(find_row(state.views.users, np.uint64(hash64(user_id)))) if user_id else -1
    for column in LEARNER_COLUMNS:
        if column.table == "users" and row >= 0:
            array = state.arrays[column.name]
            found[column.name] = array[row : row + 1].copy()
    return found


def _moved(before: dict[str, Array], after: dict[str, Array], user_id: str) -> list[Moved]:
    moved = []
    for name, now in after.items():
        column = COLUMN_BY_NAME[name]
        was = before.get(name)
        if was is None:
            was = column.allocated(1)
        if was.shape[0] < now.shape[0]:
            was = grown(column, was, now.shape[0])
        different = now != was
        if now.dtype.kind == "f":
            different &= ~(np.isnan(now) & np.isnan(was))
        numbers = int(different.sum())
        if not numbers:
            continue
        lanes = tuple(range(1, now.ndim))
        change = np.abs(now[different].astype(np.float64) - was[different].astype(np.float64))
        change = change[np.isfinite(change)]
        moved.append(
            Moved(
                parameter=name,
                rows=int(different.any(axis=lanes).sum()) if lanes else numbers,
                numbers=numbers,
                largest=float(change.max()) if change.size else 0.0,
                whose=f"user {user_id}" if column.table == "users" else "shared",
            )
        )
    return sorted(moved, key=lambda one: (one.whose != "shared", -one.numbers))


def _items(state: State, before: dict[str, Array], after: dict[str, Array]) -> list[tuple[str, float]]:
    """The items whose vectors went furthest."""
    was, now = before["items.vector"], after["items.vector"]
    common = min(len(was), len(now))
    length = np.sqrt(np.square(now[:common].astype(np.float64) - was[:common]).sum(axis=1))
    rows = np.argsort(-length, kind="stable")[:_ITEMS_MAX]
    return [(state.item_id(int(row)), float(length[row])) for row in rows if length[row] > 0.0]


def _question(record: records.Record, user_id: str) -> Request | None:
    """What this user would be answered next: the same question before and after, under the same draws."""
    if not user_id or not isinstance(record, records.Event | records.Decision):
        return None
    return Request(decision_id="trace", user_id=user_id, n=_N, at_ms=record.at_ms, context=record.context)


def _answer(state: State, asked: Request | None) -> list[Recommended]:
    if asked is None:
        return []
    views = bind(read_only(state.arrays, COLUMN_BY_NAME), state.settings)
    slate = Decider(state.settings).decide(views, None, asked)
    decision = slate.recorded(
        asked,
        item_ids=[state.item_id(row) for row in slate.rows],
        arm=0,
        read_position=state.position,
        artifact_id=state.artifact_id,
        received_ms=0,
        staleness_ms=0,
        client="",
    )
    return recommended(decision)


def _compared(before: list[Recommended], after: list[Recommended]) -> list[Answered]:
    was, now = {one.item_id: one for one in before}, {one.item_id: one for one in after}
    return [
        Answered(
            item_id=item_id,
            position_before=was[item_id].position if item_id in was else None,
            position_after=now[item_id].position if item_id in now else None,
            score_before=was[item_id].score if item_id in was else None,
            score_after=now[item_id].score if item_id in now else None,
        )
        for item_id in [*now, *(item_id for item_id in was if item_id not in now)]
    ]


def _why_not(record: records.Record, was_on: bool, state: State, counters: Array) -> str:
    """The cause where nothing that is shared moved."""
    from online.frame import DUPLICATE

    if isinstance(record, records.Decision):
        return "A decision teaches when its outcomes come, or as a whole when its attribution window closes."
    if not was_on:
        return "Learning was frozen: the user's own state followed, what is shared did not."
    if state.views.frame.counters[DUPLICATE] > counters[DUPLICATE]:
        return "Its id was known already: a duplicate is counted, and changes nothing else."
    if isinstance(record, records.Event):
        return (
            f"Events of the type {record.event_type!r} carry no reward and take nothing under this service's settings, "
            "or its outcome waits until its slate's attribution window closes."
        )
    return "Records of this kind hold nothing to learn from."


def _follow(reader: LogReader, position: int, record: records.Record) -> dict[str, Any]:
    """What came after it: the first decision that knew it, and the events that named it."""
    named: list[tuple[str, int]] = []
    first, first_position, waited = "", 0, None
    wanted = record.decision_id if isinstance(record, records.Decision) else None
    after = position
    while after < position + _FOLLOWED_MAX and (not first or wanted):
        entries = reader.read(after, _PIECE, 0)
        if not entries:
            break
        for at, payload in entries:
            if (wanted and wanted.encode() in payload) or not first:
                later = records.decode(payload)
                if isinstance(later, records.Decision) and not first and later.read_position >= position:
                    first, first_position = later.decision_id, at
                    waited = max(0, later.received_ms - record.received_ms)
                if isinstance(later, records.Event) and wanted and later.decision_id == wanted:
                    named.append((later.event_id, at))
        after = entries[-1][0]
    return {
        "first_decision": first,
        "first_decision_position": first_position,
        "first_decision_after_ms": waited,
        "named_by": named[:100],
    }


def _shown(record: records.Record) -> dict[str, Any]:
    return {
        name: value
        for name in record.__struct_fields__
        if not isinstance(value := getattr(record, name), bytes) and value not in (None, "", ())
    }


def main(arguments: list[str] | None = None) -> int:
    """Print one trace as JSON; 3 where it cannot be had, with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m api.tracing", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--log-url", required=True)
    parser.add_argument("id")
    options = parser.parse_args(arguments)
    reader = LogReader(options.log_url)
    try:
        position = find(reader, options.id)
        found = trace(history_of(options.home, reader), reader, position)
    except (NotFound, LogError, ValueError) as error:
        print(str(error), file=sys.stderr)
        return 3
    finally:
        reader.close()
    print(json.dumps(msgspec.to_builtins(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
