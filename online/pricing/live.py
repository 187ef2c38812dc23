"""What an API worker knows of flights and fares: the learner's published state, read only."""

from typing import TYPE_CHECKING, NamedTuple, TypeVar
from weakref import ref

import msgspec
import numpy as np

from online.chance import hash64
from online.fifo import find
from online.pricing.listing import ClientLine, FlightLine, clients_listed, flight_seen, flights_listed, newest_quotes
from online.pricing.outlook import FlightSeen, look_ahead, sensitivity, warm
from online.pricing.quote import (
    About,
    Fare,
    FareDecider,
    FlightUnknown,
    Request,
    RulesInForce,
    about_flight,
    flight_row,
    recorded,
)
from online.pricing.records import Quote
from online.pricing.rules import Rule, RulesChange, RuleSet, changed
from online.pricing.selling import COUNTERS
from online.publication import LearnerNotReady
from online.rows import find_row
from online.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable

    from online.live import LiveModel

T = TypeVar("T")
READS_MAX = 1_000  # a read that the learner overtook is made again


class QuoteEntry(NamedTuple):
    """A quote as the fold remembers it."""

    flight_id: str
    at_ms: int
    received_ms: int
    expires_ms: int
    fare_cents: int  # -1 nothing was for sale
    position: int


class Previewed(NamedTuple):
    """What a change of rules does to a flight, for a request without features at the flight's time."""

    flight_id: str
    before_cents: int
    after_cents: int


class LivePricing:
    """Decides fares from a LiveModel's shared memory. Good for as long as somebody holds the model."""

    def __init__(self, model: "LiveModel") -> None:
        # The model holds this. Would this hold the model, neither went before the collector of cycles came, which comes
        # to a worker once in hours; and a model that nobody asks any more holds megabytes, and maps gone arrays.
        self._of = ref(model)
        self._settings = model.settings.pricing
        self._decider = FareDecider(self._settings)
        self._rules = RulesInForce()

    @property
    def _model(self) -> "LiveModel":
        model = self._of()
        if model is None:
            raise LearnerNotReady("what was asked belongs to a learner that is gone")
        return model

    def let_go(self) -> None:
        """Hold on to no views any more: other arrays take the place of those."""
        self._decider = FareDecider(self._settings)

    def _read(self, reading: "Callable[[Views], T]") -> T:
        """What `reading` gets out of one version, whole."""
        model = self._model
        for _ in range(READS_MAX):
            version, views = model.front()
            try:
                found = reading(views)
            except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, IndexError, FlightUnknown):
                if model.holds(version):
                    raise
                continue
            if model.holds(version):
                return found
        raise FlightUnknown("the learner overtook every read")

    def quote(
        self,
        *,
        quote_id: str,
        flight_id: str,
        at_ms: int,
        received_ms: int,
        features: dict[str, float] | None,
        hold_s: int = 0,
        client: str = "",
        head: int = 0,
    ) -> tuple[Quote, Fare]:
        """Decide a fare from the state in front. Raises FlightUnknown."""
        request = Request(flight_id, at_ms, features or {})

        def decide(views: Views) -> tuple[Fare, int]:
            rules = self._rules.of(views.selling)
            return self._decider.decide(views.pricing, views.selling, rules, request), int(views.frame.position[0])

        fare, position = self._read(decide)
        record = recorded(
            fare,
            quote_id=quote_id,
            flight_id=flight_id,
            at_ms=at_ms,
            received_ms=received_ms,
            read_position=position,
            features=features,
            hold_s=hold_s,
            ttl_s=self._settings.quote_ttl_s,
            artifact_id=self._model.pricing_artifact_id,
            staleness_ms=0 if position >= head else max(0, received_ms - self._model.published_at_ms),
            client=client,
        )
        return record, fare

    def warm(self) -> None:
        """Call the kernels once, for nobody: they are compiled or loaded now and not inside the first request."""
        _, views = self._model.front()
        self._decider.warm(views.pricing)
        warm(views.pricing)
        self.entry("warm")
        self.flight_of_key(1)

    def about(self, flight_id: str) -> About:
        """What was said of a flight. Raises FlightUnknown."""

        def read(views: Views) -> About:
            row = int(find_row(views.selling.flights, np.uint64(hash64(flight_id))))
            if row < 0:
                raise FlightUnknown(flight_id)
            return about_flight(views.selling, row)

        return self._read(read)

    def clock_ms(self, flight_id: str) -> int:
        """The event time that a flight and its market have reached; 0 before any request. Raises FlightUnknown."""

        def read(views: Views) -> int:
            row = flight_row(views.selling, flight_id)
            market = int(views.pricing.flights.market[row])
            return max(int(views.selling.sales.clock_ms[row]), int(views.selling.market_clock_ms[market]))

        return self._read(read)

    def flight_of_key(self, key: int) -> str | None:
        """The id of the flight with this key."""

        def read(views: Views) -> str | None:
            row = int(find_row(views.selling.flights, np.uint64(key)))
            return None if row < 0 else about_flight(views.selling, row).flight_id

        return self._read(read)

    def entry(self, quote_id: str) -> QuoteEntry | None:
        """A quote, where it is among the newest that the fold remembers."""

        def read(views: Views) -> QuoteEntry | None:
            quotes = views.selling.quotes
            number = int(find(quotes.ring, np.uint64(hash64(quote_id))))
            row = number % len(quotes.flight)
            flight = int(quotes.flight[row])
            if number < 0 or flight < 0:
                return None
            return QuoteEntry(
                about_flight(views.selling, flight).flight_id,
                int(quotes.at_ms[row]),
                int(quotes.received_ms[row]),
                int(quotes.expires_ms[row]),
                int(quotes.fare_cents[row]),
                int(quotes.position[row]),
            )

        return self._read(read)

    def rules(self) -> RuleSet:
        """The rules in force."""
        return self._read(lambda views: self._rules.of(views.selling))

    def counters(self) -> dict[str, int]:
        """What the fold counted, by name; and flights and seats as they are."""

        def read(views: Views) -> dict[str, int]:
            selling, rows = views.selling, int(views.selling.flights.handed_out[0])
            known = selling.flights.key[:rows] != 0
            booked = int(selling.sales.taken[:rows][known].sum())
            held = int(selling.sales.held[:rows][known].sum())
            seats = int(views.pricing.flights.capacity[:rows][known].sum())
            counts = dict(zip(COUNTERS, map(int, selling.counters), strict=True))
            return counts | {
                "flights": int(known.sum()),
                "seats_booked": booked,
                "seats_held": held,
                "seats_free": max(0, seats - booked - held),
            }

        return self._read(read)

    def flights(self, text: str, offset: int, count: int) -> tuple[list[FlightLine], int]:
        """Flights for a list; and how many there are."""
        return self._read(lambda views: flights_listed(views, text, offset, count))

    def flight(self, flight_id: str) -> FlightSeen:
        """One flight as operators see it. Raises FlightUnknown."""
        seen, copy = self._read(lambda views: flight_seen(views, flight_id))
        return seen._replace(ahead=look_ahead(copy, seen.clock_ms), sensitivity=sensitivity(copy))

    def clients(self) -> list[ClientLine]:
        """Who teaches the markets, and how much of it counts."""
        return self._read(clients_listed)

    def newest_quotes(self, count: int) -> list[int]:
        """Log positions of the newest quotes."""
        return self._read(lambda views: newest_quotes(views, count))

    def preview(self, put: tuple[Rule, ...], remove: tuple[str, ...]) -> list[Previewed]:
        """Open flights whose fare, as it would be quoted now, a change of rules would change."""
        decider = FareDecider(self._settings)  # its own buffers: a preview may run beside the requests

        def look(views: Views) -> list[Previewed]:
            now = RulesInForce().of(views.selling)
            then = changed(now, put=put, remove=remove)
            found: list[Previewed] = []
            p, selling = views.pricing, views.selling
            for row in range(int(selling.flights.handed_out[0])):
                clock = max(int(selling.sales.clock_ms[row]), int(selling.market_clock_ms[p.flights.market[row]]))
                if selling.flights.key[row] == 0 or clock >= int(p.flights.departs_ms[row]):
                    continue
                request = Request(about_flight(selling, row).flight_id, clock, {})
                before = decider.decide(p, selling, now, request).fare_cents
                after = decider.decide(p, selling, then, request).fare_cents
                if before != after:
                    found.append(Previewed(request.flight_id, before, after))
            return found

        return self._read(look)


__all__ = ["FlightUnknown", "LivePricing", "Previewed", "QuoteEntry", "RulesChange"]
