"""Decide a fare: seats → model → rules → quote, a pure function of state, rules and request.

The same code answers a request in a worker, previews a rule, and decides again in a reproduction.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from online.chance import hash64
from online.held import Keeper
from online.pricing.features import find_feature
from online.pricing.layout import FEATURES_MAX, Pricing
from online.pricing.quote_kernel import NEIGHBOURS, demand_around, price
from online.pricing.records import BY_BOUND, BY_MODEL, BY_RULES, CLOSED, Quote, Step
from online.pricing.rules import Asked, Rule, RuleSet, apply, decode_rules, ladder_of_rules_cents, without_model
from online.pricing.selling import Selling
from online.pricing.settings import Settings
from online.rows import find_row
from online.text import read_text


class FlightUnknown(LookupError):
    """No flight of this id was ever put, or it left so long ago that it is forgotten."""


class About(msgspec.Struct, frozen=True):
    """What was said of a flight that no kernel reads."""

    flight_id: str
    market: str
    currency: str
    features: dict[str, float]


class Request(NamedTuple):
    """What is asked, as it will stand in the log."""

    flight_id: str
    at_ms: int
    features: dict[str, float]


class Fare(NamedTuple):
    """What is answered."""

    fare_cents: int  # -1 where nothing is for sale
    currency: str
    seats_left: int
    source: int
    bid_price_cents: float
    because: tuple[Step, ...]
    demand: bytes  # float32 [n, 4]


VIEWS_KEPT = 2  # the two sides of the shared memory
_about = msgspec.json.Decoder(About)
_NO_SEAT = "no seat is left to hold"


class RulesInForce:
    """The state's rules, decoded once per change."""

    def __init__(self) -> None:
        self._position = -1
        self._rules = RuleSet()

    def of(self, selling: Selling) -> RuleSet:
        """The rules of this state. Raises msgspec.DecodeError where it is written to meanwhile."""
        used, position = int(selling.rules_used[0]), int(selling.rules_used[1])
        if position != self._position:
            self._rules = decode_rules(selling.rules[:used].tobytes())
            self._position = position
        return self._rules


def flight_row(selling: Selling, flight_id: str) -> int:
    """Raises FlightUnknown."""
    row = int(find_row(selling.flights, np.uint64(hash64(flight_id))))
    if row < 0:
        raise FlightUnknown(flight_id)
    return row


def about_flight(selling: Selling, flight: int) -> About:
    """What was said of a flight."""
    return _about.decode(read_text(selling.about, flight))


class FareDecider:
    """Decides fares from views. Keeps buffers, and what it has read of flights."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._given = np.empty(FEATURES_MAX)
        self._demand = np.zeros((NEIGHBOURS, 4))
        self._keys: dict[str, int] = {}
        self._keeper = Keeper(VIEWS_KEPT)

    def _held(self, p: Pricing) -> Any:
        return self._keeper.held((p,), lambda: p)

    def decide(self, p: Pricing, selling: Selling, rules: RuleSet, request: Request) -> Fare:
        """The fare for a request. Raises FlightUnknown."""
        flight = flight_row(selling, request.flight_id)
        about = about_flight(selling, flight)
        left = int(p.flights.seats_left[flight])
        departs_ms = int(p.flights.departs_ms[flight])
        if left < 1 or request.at_ms >= departs_ms:
            why = "no seat is left" if left < 1 else "the flight has left"
            return Fare(-1, about.currency, max(left, 0), CLOSED, 0.0, (Step("closed", -1, why),), b"")
        fares = int(p.flights.fares[flight])
        asked = Asked(
            market=about.market,
            flight_id=about.flight_id,
            floor_cents=int(selling.sales.floor_cents[flight]),
            ceiling_cents=int(selling.sales.ceiling_cents[flight]),
            filed_cents=p.flights.ladder_cents[flight, :fares].tolist() if selling.sales.filed[flight] else (),
            departs_ms=departs_ms,
            at_ms=request.at_ms,
            day_fare_cents=int(selling.sales.day_fare_cents[flight]),
            features=about.features | request.features if about.features else request.features,
        )
        given = self._set_given(p, request.features)
        off = without_model(rules.rules, asked)
        named, bid_price, source, rows = 0, 0.0, BY_RULES, 0
        if off is None:
            # A model whose numbers are broken may divide by zero; it has no say then.
            with contextlib.suppress(ZeroDivisionError):
                named, bid_price, source, rows = price(
                    self._held(p), flight, given, request.at_ms, left, self._settings.table_days_max, self._demand
                )
        if source in (BY_MODEL, BY_BOUND):
            first = Step("model" if source == BY_MODEL else "bound", int(named))
        else:
            named = ladder_of_rules_cents(asked, left, int(p.flights.capacity[flight]))
            note = f"{off.rule_id}: {off.reason}" if off is not None else "the model names no fare"
            first = Step("without_model", named, note)
        fare, steps = self._apply(rules.rules, asked, int(named))
        if rows and fare != named:
            rows = demand_around(self._held(p), flight, given, request.at_ms, bid_price, fare, self._demand)
        demand = self._demand[:rows].astype("<f4").tobytes()
        return Fare(fare, about.currency, left, int(source), float(bid_price), (first, *steps), demand)

    def warm(self, p: Pricing) -> None:
        """Call the kernels, on whatever stands in the first row."""
        given = self._set_given(p, {"warm": 0.0})
        price(self._held(p), 0, given, 1, 1, self._settings.table_days_max, self._demand)
        demand_around(self._held(p), 0, given, 1, 0.0, 1, self._demand)

    def _apply(self, rules: Sequence[Rule], asked: Asked, named: int) -> tuple[int, tuple[Step, ...]]:
        if not rules and asked.floor_cents <= named <= asked.ceiling_cents and not asked.filed_cents:
            return named, ()
        return apply(rules, asked, named)

    def _set_given(self, p: Pricing, features: dict[str, float]) -> np.ndarray[Any, Any]:
        given = self._given
        given[:] = np.nan
        for name, value in features.items():
            key = self._keys.get(name)
            if key is None:
                if len(self._keys) > 1_000:
                    self._keys.clear()
                key = self._keys[name] = hash64(name)
            place = find_feature(p.features, np.uint64(key))
            if place >= 0:
                given[place] = value
        return given


def recorded(
    fare: Fare,
    *,
    quote_id: str,
    flight_id: str,
    at_ms: int,
    received_ms: int,
    read_position: int,
    features: dict[str, float] | None,
    hold_s: int,
    ttl_s: int,
    artifact_id: str,
    staleness_ms: int,
    client: str,
) -> Quote:
    """The record of a fare."""
    return Quote(
        quote_id=quote_id,
        flight_id=flight_id,
        at_ms=at_ms,
        received_ms=received_ms,
        read_position=read_position,
        fare_cents=fare.fare_cents,
        expires_ms=at_ms + ttl_s * 1_000,
        hold_until_ms=at_ms + hold_s * 1_000 if hold_s and fare.fare_cents >= 0 else 0,
        features=features,
        seats_left=fare.seats_left,
        source=fare.source,
        bid_price_cents=fare.bid_price_cents,
        because=fare.because,
        demand=fare.demand,
        artifact_id=artifact_id,
        staleness_ms=staleness_ms,
        client=client,
    )


def without_a_seat(record: Quote) -> Quote:
    """A quote whose seat somebody else took before it could be held: nothing is for sale."""
    because = (*record.because, Step("closed", -1, _NO_SEAT))
    return msgspec.structs.replace(
        record, fare_cents=-1, hold_until_ms=0, seats_left=0, source=CLOSED, because=because, demand=b""
    )


def decided_again(
    p: Pricing, selling: Selling, settings: Settings, decider: FareDecider, quote: Quote, artifact_id: str
) -> Quote:
    """The record that this state's decision would have been, asked and received as the recorded one was."""
    request = Request(quote.flight_id, quote.at_ms, quote.features or {})
    fare = decider.decide(p, selling, RulesInForce().of(selling), request)
    derived = recorded(
        fare,
        quote_id=quote.quote_id,
        flight_id=quote.flight_id,
        at_ms=quote.at_ms,
        received_ms=quote.received_ms,
        read_position=quote.read_position,
        features=quote.features,
        hold_s=(quote.hold_until_ms - quote.at_ms) // 1_000 if quote.hold_until_ms else 0,
        ttl_s=settings.quote_ttl_s,
        artifact_id=artifact_id,
        staleness_ms=quote.staleness_ms,
        client=quote.client,
    )
    taken_meanwhile = bool(quote.because) and quote.because[-1].note == _NO_SEAT
    return without_a_seat(derived) if taken_meanwhile else derived


def unpack_demand(packed: bytes) -> list[tuple[float, float, float, float]]:
    """Rows of (fare, P(books), low, high)."""
    return [tuple(row) for row in np.frombuffer(packed, "<f4").reshape(-1, 4).tolist()]
