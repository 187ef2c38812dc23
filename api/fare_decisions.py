"""GET /v1/decisions/{quote_id}: why a fare was what it was, out of its record alone."""

from api.fares import applied, model_of
from api.features import disclosure
from api.schemas_fares import DemandAt, FareDecisionReply
from api.values import rfc3339
from online.pricing.quote import unpack_demand
from online.pricing.records import Quote


def describe_fare(record: Quote, position: int) -> FareDecisionReply:
    """A fare as recorded: demand at it and its neighbours, what the seat was worth, every rule, every version."""
    return FareDecisionReply(
        quote_id=record.quote_id,
        flight_id=record.flight_id,
        decided_at=rfc3339(record.at_ms),
        received_at=rfc3339(record.received_ms),
        fare_cents=None if record.fare_cents < 0 else record.fare_cents,
        expires_at=rfc3339(record.expires_ms),
        held_until=rfc3339(record.hold_until_ms) if record.hold_until_ms else None,
        seats_left=record.seats_left,
        because=applied(record),
        demand=[DemandAt(int(row[0]), *row[1:]) for row in unpack_demand(record.demand)],
        features=record.features or {},
        disclosure=disclosure(record.features),
        model=model_of(record),
        log_position=position,
    )
