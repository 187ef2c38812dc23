"""Pricing's records: flights, quotes, what became of them. `online.records` says what a record is.

`at_ms` is a flight's event time, which may be a simulated date: no clock is ever held against it. Every record about
seats stands in the log because its seats were there: the log's server judged it in the same step that appended it.
"""

import msgspec

DECLINED, BOOKED = 0, 1
# Who named a fare: the model; its bound where a table is missing; the ladder of rules; nobody: nothing is for sale.
BY_MODEL, BY_BOUND, BY_RULES, CLOSED = range(4)
SOURCES = ("model", "bound", "rules", "closed")


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One thing that moved a fare after the model, in integer cents."""

    rule: str  # what kind of rule, or "model"
    fare_cents: int  # after it
    note: str = ""  # which rule, and why


class FlightUpsert(msgspec.Struct, frozen=True, array_like=True, tag="f1"):
    """A flight, whole: the newest record replaces the ones before it; what was sold stays sold."""

    flight_id: str
    received_ms: int
    market: str
    departs_ms: int
    capacity: int
    currency: str
    floor_cents: int
    ceiling_cents: int
    ladder_cents: tuple[int, ...] = ()  # filed fares, ascending; () is any whole cent
    features: dict[str, float] | None = None
    client: str = ""


class Quote(msgspec.Struct, frozen=True, array_like=True, tag="q1"):
    """One fare as it was quoted, with all that deciding it again takes."""

    quote_id: str
    flight_id: str
    at_ms: int
    received_ms: int
    read_position: int  # log position of the state that decided
    fare_cents: int  # -1 where nothing was for sale
    expires_ms: int  # the fare is honoured until then, if seats remain
    hold_until_ms: int = 0  # a seat is kept until then; 0 is none
    features: dict[str, float] | None = None  # as asked; the others are the flight's, or their defaults
    seats_left: int = 0  # as the deciding state knew it
    source: int = BY_MODEL
    bid_price_cents: float = 0.0
    because: tuple[Step, ...] = ()
    demand: bytes = b""  # float32 little endian [n, 4]: fare, P(books), and one standard deviation below and above
    artifact_id: str = ""
    staleness_ms: int = 0
    client: str = ""


class QuoteOutcome(msgspec.Struct, frozen=True, array_like=True, tag="o1"):
    """What the traveller said. A booking's seat was taken in the same step that appended this."""

    quote_id: str
    flight_id: str
    outcome: int  # DECLINED, BOOKED
    at_ms: int
    received_ms: int
    client: str = ""


class Cancellation(msgspec.Struct, frozen=True, array_like=True, tag="c1"):
    """A booking given back; its seat is for sale again."""

    quote_id: str  # that was booked
    flight_id: str
    at_ms: int
    received_ms: int
    client: str = ""


class Tick(msgspec.Struct, frozen=True, array_like=True, tag="k1"):
    """The learner found nothing to read and flights to solve: solve some more of them here."""

    received_ms: int
    flights: int


PricingRecord = FlightUpsert | Quote | QuoteOutcome | Cancellation | Tick
