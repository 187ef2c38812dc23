"""What became of a quote: POST /v1/quotes/{quote_id}/outcome, POST /v1/bookings/{booking_id}/cancel.

The seat is taken in the step that appends the record, or neither happens; so a repeated request is answered as the
first time, through whichever worker, and after any crash.
"""

import msgspec

from api.body import decode
from api.decisions import find_position
from api.idempotency import Answer
from api.identifiers import clock_ms
from api.problems import Fault, Problem
from api.schemas_fares import CancelReply, CancelRequest, OutcomeReply, OutcomeRequest
from api.seats import booked_quote, booking_id, claim
from api.service import Call, Service
from api.values import time_ms
from online import records
from online.chance import hash64
from online.log import Claim
from online.pricing.live import QuoteEntry
from online.pricing.records import BOOKED, DECLINED, Cancellation, Quote, QuoteOutcome
from online.pricing.stock import claim_name, stock_name

_outcome = msgspec.json.Decoder(OutcomeRequest)
_cancel = msgspec.json.Decoder(CancelRequest)
_encoder = msgspec.json.Encoder()
_REFUSED = {
    "none_left": "sold_out",
    "expired": "quote_expired",
    "given_back": "outcome_conflict",
    "taken": "outcome_conflict",
}


async def outcome(service: Service, call: Call, quote_id: str) -> Answer:
    """Answer one call. Raises Problem."""
    received_ms = clock_ms()
    said = decode(_outcome, call.body)
    if call.min_position is not None:
        await service.learned(call.min_position)
    entry = await find_quote(service, quote_id)
    at_ms = _moment(said.occurred_at, received_ms, entry)
    booked = said.outcome == "booked"
    if booked and entry.fare_cents < 0:
        raise Problem("sold_out", "This quote named no fare: nothing was for sale.")
    flight_key, name = hash64(entry.flight_id), claim_name(hash64(quote_id))
    record = QuoteOutcome(quote_id, entry.flight_id, BOOKED if booked else DECLINED, at_ms, received_ms, call.client)
    verb = "take" if booked else "pass"
    verdict = await claim(service, record, Claim(stock_name(flight_key), verb, name, at_ms, entry.expires_ms))
    if verdict.code not in ("granted", "again"):
        raise Problem(_REFUSED[verdict.code])
    service.remember_flight(entry.flight_id, verdict.position)
    reply = OutcomeReply(booking_id(flight_key, quote_id) if booked else None, verdict.left, verdict.position)
    return Answer(200, _encoder.encode(reply))


async def cancel(service: Service, call: Call, booking: str) -> Answer:
    """Answer one call. Raises Problem."""
    received_ms = clock_ms()
    said = decode(_cancel, call.body or b"{}")
    parts = booked_quote(booking)
    flight_id = None if parts is None else service.model.pricing.flight_of_key(parts[0])
    if parts is None or flight_id is None:
        raise Problem("booking_unknown")
    flight_key, quote_id = parts
    entry = _remembered(service, quote_id)
    # Said without a time it happens now: where its market's time has come to, whatever dates are played.
    now_ms = service.model.pricing.clock_ms(flight_id) if said.occurred_at is None else 0
    at_ms = now_ms if entry is None and now_ms else max(_moment(said.occurred_at, received_ms, entry), now_ms)
    record = Cancellation(quote_id, flight_id, at_ms, received_ms, call.client)
    wanted = Claim(stock_name(flight_key), "give", claim_name(hash64(quote_id)), at_ms)
    verdict = await claim(service, record, wanted)
    if verdict.code not in ("granted", "again"):
        raise Problem("booking_unknown")
    service.remember_flight(flight_id, verdict.position)
    return Answer(200, _encoder.encode(CancelReply(verdict.left, verdict.position)))


def _moment(given: str | int | None, received_ms: int, entry: QuoteEntry | None) -> int:
    """Event time: as given; else as long after the question as the service's clock says, whatever date that was asked
    at; else the arrival. Never before the question."""
    try:
        at_ms = None if given is None else time_ms(given, "/occurred_at")
    except Fault as fault:
        raise fault.problem() from fault
    if entry is None:
        return received_ms if at_ms is None else at_ms
    if at_ms is None:
        at_ms = entry.at_ms + max(0, received_ms - entry.received_ms)
    return max(at_ms, entry.at_ms)


def _remembered(service: Service, quote_id: str) -> QuoteEntry | None:
    return service.recent_quotes.get(quote_id) or service.model.pricing.entry(quote_id)


async def find_quote(service: Service, quote_id: str) -> QuoteEntry:
    """A quote by its id: from memory, from the fold, or from the log. Raises Problem."""
    entry = _remembered(service, quote_id)
    if entry is None and len(quote_id) == 36:
        await service.caught_up()  # another worker may have answered it a moment ago
        entry = _remembered(service, quote_id)
    if entry is None:
        position = await find_position(service, quote_id, search=True)
        payload = None if position is None else await service.entry(position)
        record = None if payload is None else records.decode(payload)
        if position is None or not isinstance(record, Quote) or record.quote_id != quote_id:
            raise Problem("quote_unknown")
        entry = QuoteEntry(
            record.flight_id, record.at_ms, record.received_ms, record.expires_ms, record.fare_cents, position
        )
    return entry
