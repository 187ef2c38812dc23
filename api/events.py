"""A batch of events from the wire to the log's records: each is judged on its own."""

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any

import msgspec
from msgspec import UNSET

from api.body import check_encodable, has_duplicate_key, keys_are_single, lenient
from api.identifiers import make_id
from api.problems import Fault, Pointer, Problem, fault_of
from api.schemas import VALUE_MAX, EventRequest, EventsEnvelope, Rejected
from api.values import context_of, event_time_ms, identifier
from online.records import BATCH_EVENTS_MAX, Event

_RECENT_MAX = 50_000  # 9 MB of a worker; a retry comes within seconds, and the fold knows older ones

_envelope = msgspec.json.Decoder(EventsEnvelope)
_event = msgspec.json.Decoder(EventRequest)


class RecentEvents:
    """Ids of the events that this worker has appended, durably: a bounded hint that saves the log a duplicate.

    The fold deduplicates by its own table; what is not known here, or known to another worker, is counted
    there.
    """

    def __init__(self, *, entries_max: int = _RECENT_MAX) -> None:
        self._entries_max = entries_max
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._ids

    def add(self, event_ids: Collection[str]) -> None:
        """Called after the append is durable, never before: a failed append must not turn its retry into a
        duplicate.
        """
        for event_id in event_ids:
            self._ids[event_id] = None
        while len(self._ids) > self._entries_max:
            self._ids.popitem(last=False)


class Batch(msgspec.Struct):
    """A batch that was read: what goes into the log, and what is said about the rest."""

    events: list[Event]
    rejected: list[Rejected]
    duplicate: int
    received: int


def read_batch(
    body: bytes,
    *,
    received_ms: int,
    event_types: Collection[str],
    known: Callable[[str], bool],
    id_for: Callable[[int], str] | None,
    client: str = "",
) -> Batch:
    """The events of one call. `id_for(index)` makes an id where an Idempotency-Key allows a repeatable one.

    Raises Problem where the body as a whole is no batch: then nothing of it is counted.
    """
    entries = _entries(body)
    batch = Batch(events=[], rejected=[], duplicate=0, received=len(entries))
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        try:
            event = _read(entry, index, received_ms=received_ms, event_types=event_types, id_for=id_for, client=client)
        except Fault as fault:
            where = f"{fault.pointer}: " if fault.pointer else ""
            batch.rejected.append(Rejected(index=index, code=fault.code, detail=f"{where}{fault.detail}"))
            continue
        if event.event_id in seen or known(event.event_id):
            batch.duplicate += 1
            continue
        seen.add(event.event_id)
        batch.events.append(event)
    return batch


def _entries(body: bytes) -> list[Any]:
    """The batch's entries: raw JSON each, or, where one of them spoils the whole text, Python's reading of it."""
    try:
        envelope = _envelope.decode(body)
    except msgspec.ValidationError as error:
        raise _batch_fault(error) from error
    except RecursionError as error:
        raise Problem("too_deep") from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _entries_leniently(body)
    if body.count(b'"events"') > 1 and has_duplicate_key(body):
        # A value may read "events" too; only where the outer object has the key twice is the batch itself
        # in doubt.
        _entries_leniently(body)
    return list(envelope.events)


def _entries_leniently(body: bytes) -> list[Any]:
    value = lenient(body)
    if type(value) is not dict or value.keys() != {"events"} or not isinstance(value["events"], list):
        if isinstance(value, dict) and type(value) is not dict:
            raise Problem("duplicate_key")
        raise Problem("malformed_json", "The body is not strict JSON, and holds no list of events.")
    entries = value["events"]
    if not 1 <= len(entries) <= BATCH_EVENTS_MAX:
        raise _size_problem()
    return entries


def _batch_fault(error: msgspec.ValidationError) -> Problem:
    fault = fault_of(error)
    if fault.pointer == "/events" and fault.code == "value_out_of_range":
        return _size_problem()
    return fault.problem()


def _size_problem() -> Problem:
    detail = f"A batch has 1 to {BATCH_EVENTS_MAX} events."
    return Problem("invalid_request", detail, errors=(Pointer("/events", "value_out_of_range", detail),))


def _read(
    entry: Any,
    index: int,
    *,
    received_ms: int,
    event_types: Collection[str],
    id_for: Callable[[int], str] | None,
    client: str,
) -> Event:
    request = _decode_event(entry)
    if request.event_type not in event_types:
        raise Fault("unknown_event_type", f"Known types: {', '.join(sorted(event_types))}.", pointer="/event_type")
    user_id = identifier(request.user_id, "/user_id")
    item_id = identifier(request.item_id, "/item_id")
    value = request.value
    if value is UNSET:
        value = None
    elif value is not None and not -VALUE_MAX <= value <= VALUE_MAX:
        raise Fault("value_out_of_range", f"value lies within ±{VALUE_MAX:g}.", pointer="/value")
    given_id = request.event_id
    if given_id is UNSET or given_id is None:
        event_id = id_for(index) if id_for is not None else make_id(received_ms)
    else:
        event_id = identifier(given_id, "/event_id")
    occurred_at = request.occurred_at
    if occurred_at is UNSET or occurred_at is None:
        at_ms = received_ms
    else:
        at_ms = event_time_ms(occurred_at, received_ms, "/occurred_at")
    decision_id = request.decision_id
    context = request.context
    return Event(
        event_id=event_id,
        event_type=request.event_type,
        user_id=user_id,
        item_id=item_id,
        at_ms=at_ms,
        received_ms=received_ms,
        value=value,
        decision_id=None if decision_id is UNSET or decision_id is None else identifier(decision_id, "/decision_id"),
        context=None if context is UNSET or not context else context_of(context, "/context"),
        client=client,
    )


def _decode_event(entry: Any) -> EventRequest:
    if type(entry) is not msgspec.Raw:
        check_encodable(entry)
        try:
            return msgspec.convert(entry, EventRequest)
        except msgspec.ValidationError as error:
            raise fault_of(error) from error
    raw = bytes(entry)
    try:
        request = _event.decode(raw)
    except msgspec.ValidationError as error:
        raise fault_of(error) from error
    except RecursionError as error:
        raise Fault("too_deep", "The event is nested too deeply.") from error
    except UnicodeDecodeError as error:
        raise Fault("id_not_printable", "The event is not UTF-8.") from error
    except msgspec.DecodeError as error:
        raise Fault("malformed_json", "The event is not JSON.") from error
    keys, colons = _keys_and_colons(request)
    if not keys_are_single(raw, keys=keys, colons_in_strings=colons) and has_duplicate_key(raw):
        raise Fault("duplicate_key", "A key stands twice in this event.")
    return request


def _keys_and_colons(request: EventRequest) -> tuple[int, int]:
    """How many keys were decoded, and how many colons stand inside decoded strings."""
    keys, colons = 0, 0
    for value in (
        request.event_type,
        request.user_id,
        request.item_id,
        request.event_id,
        request.occurred_at,
        request.value,
        request.decision_id,
        request.context,
    ):
        if value is UNSET:
            continue
        keys += 1
        if type(value) is str:
            colons += value.count(":")
        elif type(value) is dict:
            keys += len(value)
            colons += sum(
                key.count(":") + (inner.count(":") if type(inner) is str else 0) for key, inner in value.items()
            )
    return keys, colons
