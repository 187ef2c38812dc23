"""PUT /v1/flights/{flight_id}: what is for sale, as a record whose capacity the seats' counts take in the same step."""

import msgspec

from api.body import decode
from api.features import features_of, refuse_personal
from api.idempotency import Answer
from api.identifiers import clock_ms
from api.problems import Fault, Problem
from api.schemas_fares import FlightBody, FlightReply
from api.seats import claim
from api.service import Service
from api.values import check_printable, identifier, time_ms
from online.chance import hash64
from online.log import Claim
from online.pricing.records import FlightUpsert
from online.pricing.stock import stock_name

_body = msgspec.json.Decoder(FlightBody)
_encoder = msgspec.json.Encoder()


async def put_flight(service: Service, flight_id: str, body: bytes, *, client: str = "") -> Answer:
    """Say what a flight is; the newest word counts. Raises Problem."""
    try:
        said = decode(_body, body)
    except Problem as problem:
        raise refuse_personal(problem) from problem
    try:
        entry = _record(identifier(flight_id, "/flight_id"), said, service.model.fare_features, client)
    except Fault as fault:
        raise fault.problem() from fault
    wanted = Claim(stock_name(hash64(entry.flight_id)), "limit", "", 0, entry.capacity)
    verdict = await claim(service, entry, wanted)
    if verdict.code != "granted":
        raise Problem("capacity_in_use")
    service.remember_flight(entry.flight_id, verdict.position)
    return Answer(200, _encoder.encode(FlightReply(entry.flight_id, verdict.left, verdict.position)))


def _record(flight_id: str, said: FlightBody, known: tuple[str, ...] | None, client: str) -> FlightUpsert:
    check_printable(said.market, "/market")
    floor, ceiling = said.fare_floor_cents, said.fare_ceiling_cents
    if ceiling < floor:
        raise Fault("value_out_of_range", "The ceiling is below the floor.", pointer="/fare_ceiling_cents")
    ladder = sorted(set(said.fare_ladder_cents or ()))
    if ladder and not floor <= ladder[0] <= ladder[-1] <= ceiling:
        detail = "Every fare of the ladder lies between floor and ceiling."
        raise Fault("value_out_of_range", detail, pointer="/fare_ladder_cents")
    return FlightUpsert(
        flight_id=flight_id,
        received_ms=clock_ms(),
        market=said.market,
        departs_ms=time_ms(said.departs_at, "/departs_at"),
        capacity=said.capacity,
        currency=said.currency,
        floor_cents=floor,
        ceiling_cents=ceiling,
        ladder_cents=tuple(ladder),
        features=features_of(said.features, known),
        client=client,
    )
