"""POST /v1/events: each event judged on its own, all that is accepted in one append, the rest accounted for in it.

Feedback is refused as a whole while the log is away (503 and `Retry-After`): what is acknowledged is on the
disk.
"""

import hashlib
from collections.abc import Callable

import msgspec

from api.events import read_batch
from api.idempotency import Answer
from api.identifiers import clock_ms, id_from_key
from api.schemas import EventsReply
from api.service import Call, Service
from online import records

_encoder = msgspec.json.Encoder()


async def take_events(service: Service, call: Call) -> Answer:
    """Answer one call. Raises Problem."""
    received_ms = clock_ms()
    model = service.model
    recent = service.recent_events

    def known(event_id: str) -> bool:
        return event_id in recent or model.knows_event(event_id)

    batch = read_batch(
        call.body,
        received_ms=received_ms,
        event_types=model.settings.events,
        known=known,
        id_for=_ids_from_key(service, call),
        client=call.client,
    )
    entries: list[records.Record] = list(batch.events)
    if batch.duplicate or batch.rejected:
        entries.append(
            records.Tally(
                received_ms=received_ms,
                duplicate=batch.duplicate,
                rejected=len(batch.rejected),
                client=call.client,
            )
        )
    position = await service.append(entries)
    recent.add([event.event_id for event in batch.events])
    reply = EventsReply(
        received=batch.received,
        accepted=len(batch.events),
        duplicate=batch.duplicate,
        rejected=batch.rejected,
        position=position,
    )
    return Answer(202, _encoder.encode(reply))


def _ids_from_key(service: Service, call: Call) -> Callable[[int], str] | None:
    """Ids for events that bring none: the same when the same request is repeated to another worker."""
    if call.idempotency_key is None:
        return None
    key = call.own_key
    fingerprint = hashlib.blake2b(call.body, digest_size=16).hexdigest()
    return lambda index: id_from_key(service.settings.secret, f"{key}\n{fingerprint}\n{index}", purpose="event")
