"""Examples of the calls about flights and fares, for /docs; a test sends each of them."""

from typing import Any

from api import schemas_fares as schemas

_DISCLOSURE = (
    "This fare was set by an algorithm from the flight's demand, its seats and the time to departure. "
    "Of the request it used: saturday_stay. No personal data was used."
)
_MODEL = {
    "artifact": "3f0c2a9e11b6d3aa",
    "position": 4182,
    "staleness_ms": 0,
    "source": "model",
    "bid_price_cents": 8412.5,
}
_STEP = {"rule": "model", "fare_cents": 12900, "note": ""}
_QUOTE_ID = "0194bd2e-7c00-7d3a-9f00-3b6f0c2a9e13"

FARE_EXAMPLES: dict[Any, dict[str, Any]] = {
    schemas.FlightBody: {
        "market": "ZRH-LIS",
        "departs_at": "2027-03-01T07:30:00Z",
        "capacity": 120,
        "currency": "EUR",
        "fare_floor_cents": 4900,
        "fare_ceiling_cents": 39900,
        "features": {"peak": 1},
    },
    schemas.FlightReply: {"flight_id": "LX-2084-0301", "seats_left": 120, "position": 4180},
    schemas.QuoteRequest: {
        "flight_id": "LX-2084-0301",
        "asked_at": "2027-01-31T12:00:00Z",
        "features": {"saturday_stay": True},
    },
    schemas.QuoteReply: {
        "quote_id": _QUOTE_ID,
        "flight_id": "LX-2084-0301",
        "fare_cents": 12900,
        "currency": "EUR",
        "expires_at": "2027-01-31T12:15:00.000Z",
        "held_until": "2027-01-31T12:10:00.000Z",
        "seats_left": 41,
        "because": [_STEP],
        "disclosure": _DISCLOSURE,
        "model": _MODEL,
    },
    schemas.OutcomeRequest: {"outcome": "booked"},
    schemas.OutcomeReply: {"booking_id": f"5b1d7c0f3a9e2248-{_QUOTE_ID}", "seats_left": 40, "position": 4184},
    schemas.CancelRequest: {},
    schemas.CancelReply: {"seats_left": 41, "position": 4185},
    schemas.FareDecisionReply: {
        "quote_id": _QUOTE_ID,
        "flight_id": "LX-2084-0301",
        "decided_at": "2027-01-31T12:00:00.000Z",
        "received_at": "2027-01-31T12:00:00.000Z",
        "fare_cents": 12900,
        "expires_at": "2027-01-31T12:15:00.000Z",
        "held_until": "2027-01-31T12:10:00.000Z",
        "seats_left": 41,
        "because": [_STEP],
        "demand": [{"fare_cents": 12900, "probability": 0.31, "low": 0.27, "high": 0.35}],
        "features": {"saturday_stay": 1.0},
        "disclosure": _DISCLOSURE,
        "model": _MODEL,
        "log_position": 4183,
    },
    schemas.RulesReply: {
        "position": 4186,
        "rules": [{"rule_id": "no-sale", "kind": "floor", "fare_cents": 5900, "market": "ZRH-LIS"}],
    },
}
