"""POST /v1/quotes: read, decide from memory, record, answer. What is quoted is on the disk before it is answered."""

import msgspec

from api.body import decode
from api.features import disclosure, features_of, refuse_personal
from api.idempotency import Answer
from api.identifiers import clock_ms, id_from_key, make_id
from api.problems import Fault, Problem
from api.schemas_fares import Applied, ModelOfFare, QuoteReply, QuoteRequest
from api.seats import claim
from api.service import MIN_POSITION_WAIT_S, Call, Service
from api.values import identifier, rfc3339, time_ms
from online import records
from online.chance import hash64
from online.log import Claim
from online.pricing.live import FlightUnknown, QuoteEntry
from online.pricing.quote import Fare, without_a_seat
from online.pricing.records import CLOSED, SOURCES, Quote
from online.pricing.stock import claim_name, stock_name

_decoder = msgspec.json.Decoder(QuoteRequest)
_encoder = msgspec.json.Encoder()
_PUT_WAIT_S = 2.0  # for a flight that was put a moment ago
_REPLAYED = ((b"idempotent-replayed", b"true"),)


class Question(msgspec.Struct, frozen=True):
    """A request, checked."""

    flight_id: str
    at_ms: int
    given_at_ms: int | None
    features: dict[str, float] | None
    hold_s: int


async def quote(service: Service, call: Call) -> Answer:
    """Answer one call. Raises Problem."""
    received_ms = clock_ms()
    question = _read(service, call.body, received_ms)
    if call.min_position is not None:
        await service.learned(call.min_position)
    await service.seen_own(question.flight_id)
    key = call.idempotency_key
    if key is None:
        record, fare = await _decide(service, question, make_id(received_ms), received_ms, call.client)
        return Answer(201, _encoder.encode(reply_of(await _append(service, record), fare.currency)))
    quote_id = id_from_key(service.settings.secret, call.own_key, purpose="quote")
    earlier = await _earlier(service, quote_id, question)
    if earlier is not None:
        return earlier
    record, fare = await _decide(service, question, quote_id, received_ms, call.client)
    record = await _append(service, record)
    # Another worker may have been asked the same at this moment; the fold knows which of the two came first.
    position = service.recent_quotes[quote_id].position
    await service.model.wait_for(position, MIN_POSITION_WAIT_S)
    learned = service.model.pricing.entry(quote_id)
    first = None
    if learned is not None and learned.position != position:
        first = await _earlier(service, quote_id, question, but=record)
    return first or Answer(201, _encoder.encode(reply_of(record, fare.currency)))


def _read(service: Service, body: bytes, received_ms: int) -> Question:
    try:
        request = decode(_decoder, body)
    except Problem as problem:
        raise refuse_personal(problem) from problem
    try:
        given = None if request.asked_at is None else time_ms(request.asked_at, "/asked_at")
        hold_s = request.hold_s or 0
        most = service.model.settings.pricing.hold_max_s
        if hold_s > most:
            raise Fault("value_out_of_range", f"A seat is held for {most} s at most.", pointer="/hold_s")
        return Question(
            flight_id=identifier(request.flight_id, "/flight_id"),
            at_ms=received_ms if given is None else given,
            given_at_ms=given,
            features=features_of(request.features, service.model.fare_features),
            hold_s=hold_s,
        )
    except Fault as fault:
        raise fault.problem() from fault


async def _decide(
    service: Service, question: Question, quote_id: str, received_ms: int, client: str
) -> tuple[Quote, Fare]:
    def ask() -> tuple[Quote, Fare]:
        return service.model.pricing.quote(
            quote_id=quote_id,
            flight_id=question.flight_id,
            at_ms=question.at_ms,
            received_ms=received_ms,
            features=question.features,
            hold_s=question.hold_s,
            client=client,
            head=service.writer.head,
        )

    try:
        return ask()
    except FlightUnknown:
        # It may have been put a moment ago, and not be learned yet.
        await service.caught_up(_PUT_WAIT_S)
    try:
        return ask()
    except FlightUnknown as error:
        raise Problem("flight_unknown") from error


async def _append(service: Service, record: Quote) -> Quote:
    """The quote as it stands in the log: with a seat held if it is to be and one is there, else as not for sale."""
    if record.hold_until_ms:
        wanted = Claim(
            stock_name(hash64(record.flight_id)),
            "hold",
            claim_name(hash64(record.quote_id)),
            record.at_ms,
            record.hold_until_ms,
        )
        verdict = await claim(service, record, wanted)
        if verdict.code in ("granted", "again"):
            _remember(service, record, verdict.position)
            return record
        record = without_a_seat(record)
    _remember(service, record, await service.append([record]))
    return record


def _remember(service: Service, record: Quote, position: int) -> None:
    service.remember_flight(record.flight_id, position)
    service.remember_quote(
        record.quote_id,
        QuoteEntry(record.flight_id, record.at_ms, record.received_ms, record.expires_ms, record.fare_cents, position),
    )


async def _earlier(service: Service, quote_id: str, question: Question, *, but: Quote | None = None) -> Answer | None:
    """The first answer under this id, if there was one (and it is not `but`). Raises Problem for another question."""
    entry = service.model.pricing.entry(quote_id) or service.recent_quotes.get(quote_id)
    payload = None if entry is None else await service.entry(entry.position)
    found = None if payload is None else records.decode(payload)
    if not isinstance(found, Quote) or found.quote_id != quote_id:
        return None
    if but is not None and (found.received_ms, found.fare_cents) == (but.received_ms, but.fare_cents):
        return None
    held_s = (found.hold_until_ms - found.at_ms) // 1_000 if found.hold_until_ms else 0
    same = (
        found.flight_id == question.flight_id
        and (found.features or {}) == (question.features or {})
        and question.given_at_ms in (None, found.at_ms)
        and (held_s == question.hold_s or found.source == CLOSED)
    )
    if not same:
        raise Problem("idempotency_key_reused")
    currency = service.model.pricing.about(found.flight_id).currency
    return Answer(201, _encoder.encode(reply_of(found, currency)), _REPLAYED)


def reply_of(record: Quote, currency: str) -> QuoteReply:
    """What is answered, out of what is recorded."""
    return QuoteReply(
        quote_id=record.quote_id,
        flight_id=record.flight_id,
        fare_cents=None if record.fare_cents < 0 else record.fare_cents,
        currency=currency,
        expires_at=rfc3339(record.expires_ms),
        held_until=rfc3339(record.hold_until_ms) if record.hold_until_ms else None,
        seats_left=record.seats_left,
        because=applied(record),
        disclosure=disclosure(record.features),
        model=model_of(record),
    )


def applied(record: Quote) -> list[Applied]:
    """The steps from the model's fare to the one shown."""
    return [Applied(s.rule, None if s.fare_cents < 0 else s.fare_cents, s.note) for s in record.because]


def model_of(record: Quote) -> ModelOfFare:
    """Which state decided."""
    return ModelOfFare(
        artifact=record.artifact_id,
        position=record.read_position,
        staleness_ms=record.staleness_ms,
        source=SOURCES[record.source],
        bid_price_cents=record.bid_price_cents,
    )
