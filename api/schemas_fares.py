"""What goes in and out over HTTP about flights, fares and seats. `api.schemas` says how such structs are meant."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from api.schemas import ActRequest, Id, OperatorsAct, Time
from online.pricing.layout import FARES_MAX, FEATURES_MAX, SEATS_MAX
from online.pricing.rules import FARE_MAX_CENTS

HOLD_S_MAX = 366 * 86_400
RULES_MAX = 200
TEXT_MAX = 256

Cents = Annotated[int, Meta(ge=1, le=FARE_MAX_CENTS)]
Features = Annotated[dict[str, float | bool], Meta(max_length=FEATURES_MAX)]


class FlightBody(Struct, forbid_unknown_fields=True):
    """A flight for sale. Without a ladder any fare from floor to ceiling may be quoted; what was sold stays sold."""

    market: Annotated[str, Meta(min_length=1, max_length=TEXT_MAX)]
    departs_at: Time
    capacity: Annotated[int, Meta(ge=1, le=SEATS_MAX - 1)]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    fare_floor_cents: Cents
    fare_ceiling_cents: Cents
    fare_ladder_cents: Annotated[list[Cents], Meta(min_length=1, max_length=FARES_MAX)] | None = None
    features: Features | None = None


class FlightReply(Struct, frozen=True):
    """The flight is in the log at `position`, and for sale from there on."""

    flight_id: str
    seats_left: int
    position: int


class QuoteRequest(Struct, forbid_unknown_fields=True):
    """A fare for one seat. `features` are facts of the request, never of the person; `hold_s` keeps the seat."""

    flight_id: Id
    asked_at: Time | None = None
    features: Features | None = None
    hold_s: Annotated[int, Meta(ge=1, le=HOLD_S_MAX)] | None = None


class Applied(Struct, frozen=True):
    """A step from the model's fare to the one shown: who named it, the fare after it, and why."""

    rule: str
    fare_cents: int | None
    note: str


class ModelOfFare(Struct, frozen=True):
    """Which state answered, who named the fare (model, bound, rules, closed), and what the seat was worth to it."""

    artifact: str
    position: int
    staleness_ms: int
    source: str
    bid_price_cents: float


class QuoteReply(Struct, frozen=True):
    """A fare, honoured until it expires if seats remain; null where nothing is for sale."""

    quote_id: str
    flight_id: str
    fare_cents: int | None
    currency: str
    expires_at: str
    held_until: str | None
    seats_left: int
    because: list[Applied]
    disclosure: str
    model: ModelOfFare


class OutcomeRequest(Struct, forbid_unknown_fields=True):
    """What the traveller said. Without `occurred_at`: as long after the question as the service's clock says."""

    outcome: Literal["booked", "declined"]
    occurred_at: Time | None = None


class OutcomeReply(Struct, frozen=True):
    """A seat is booked, or is not; said again, it is answered as the first time."""

    booking_id: str | None
    seats_left: int
    position: int


class CancelRequest(Struct, forbid_unknown_fields=True):
    """The booking is given back."""

    occurred_at: Time | None = None


class CancelReply(Struct, frozen=True):
    """The seat is for sale again."""

    seats_left: int
    position: int


class DemandAt(Struct, frozen=True):
    """The chance that this request books at a fare; low and high are one posterior standard deviation away."""

    fare_cents: int
    probability: float
    low: float
    high: float


class FareDecisionReply(Struct, frozen=True):
    """A fare as it was decided and recorded: what it would have been a rung lower and higher, and every rule."""

    quote_id: str
    flight_id: str
    decided_at: str
    received_at: str
    fare_cents: int | None
    expires_at: str
    held_until: str | None
    seats_left: int
    because: list[Applied]
    demand: list[DemandAt]
    features: dict[str, float]
    disclosure: str
    model: ModelOfFare
    log_position: int


class RuleBody(Struct, forbid_unknown_fields=True, kw_only=True, rename={"since": "from"}):
    """One rule for fares; `from` and `until` are event time. Which fields it needs depends on its kind."""

    rule_id: Annotated[str, Meta(min_length=1, max_length=64)]
    kind: Literal["floor", "ceiling", "ladder", "rounding", "step", "fence", "override", "without_model"]
    market: Annotated[str, Meta(min_length=1, max_length=TEXT_MAX)] | None = None
    flight_id: Id | None = None
    since: Time | None = None
    until: Time | None = None
    fare_cents: Cents | None = None
    ladder_cents: list[Cents] | None = None
    multiple_cents: Cents | None = None
    ending_cents: Annotated[int, Meta(ge=0, le=FARE_MAX_CENTS)] = 0
    most_cents: Annotated[int, Meta(ge=0, le=FARE_MAX_CENTS)] | None = None
    most_percent: Annotated[float, Meta(ge=0.0, le=1_000.0)] | None = None
    days_before: Annotated[int, Meta(ge=0, le=3_660)] | None = None
    feature: Annotated[str, Meta(min_length=1, max_length=TEXT_MAX)] | None = None
    at_least: float | None = None


class Rules(OperatorsAct, tag="rules"):
    """Write some rules for fares and remove others; `dry_run` says which open flights that would change, and how."""

    put: Annotated[list[RuleBody], Meta(max_length=RULES_MAX)] = field(default_factory=list)
    remove: Annotated[list[str], Meta(max_length=RULES_MAX)] = field(default_factory=list)
    dry_run: bool = False


AnyAct = ActRequest | Rules


class FareChange(Struct, frozen=True):
    """A flight whose fare a change of rules would change, for a request without features; null: not for sale."""

    flight_id: str
    before_cents: int | None
    after_cents: int | None


class PreviewReply(Struct, frozen=True):
    """What a change of rules would do to the flights that are open, and nothing of it done."""

    act: str
    dry_run: bool
    position: int
    changed: int
    changes: list[FareChange]


class RulesReply(Struct, frozen=True):
    """All rules in force."""

    position: int
    rules: list[dict[str, Any]]
