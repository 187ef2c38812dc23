"""Pricing's part of the fold: what a record about a flight, a quote or a seat does to the state.

Time is a flight's own: what closes its quotes, ends its holds and begins its market's days is the event time of its
records, and no clock. A quote is a "no" when the traveller says so, or when it expires in that time; the same question
again within a minute, the first one unanswered, is the same traveller, and the first one teaches nothing. Requests
that found nothing for sale teach how many ask, and nothing about what they would pay. What is learned is the fare that
was shown, after all rules, and as much of it as its client is worth (`online.pricing.clients`).
"""

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from online.chance import hash64
from online.fifo import find, push
from online.frame import APPLIED, DUPLICATE, LATE, RECEIVED
from online.journal import touch
from online.pricing import seats, selling
from online.pricing.arrays import begin_flight
from online.pricing.fare import default_ladder
from online.pricing.features import add_feature
from online.pricing.fold_kernel import (
    booked_after_all,
    flight_told,
    given_back,
    outcome_known,
    quote_came,
    seats_move,
)
from online.pricing.layout import DAY_MS, FARES_MAX, FEATURES_MAX, WINDOW_DAYS, WINDOWS
from online.pricing.markets import market_row
from online.pricing.records import BOOKED, Cancellation, FlightUpsert, PricingRecord, Quote, QuoteOutcome, Tick
from online.pricing.rules import RulesChange, changed, decode_rules, encode_rules
from online.pricing.selling import (
    BOOKINGS,
    BREAKS,
    CANCELLED,
    CLOSED_EARLY,
    DECLINED,
    EARLY,
    EVICTED,
    EXPIRED,
    NOT_FOR_SALE,
    NOT_SOLD,
    OPEN,
    QUOTES,
    REFUSED,
    REPEATED,
    REPEATS,
    SAID_NO,
    SILENT,
    TAKEN,
    UNMATCHED,
)
from online.pricing.solving import after_record, all_due, solve_next
from online.rows import add_row, find_row, room
from online.text import write_text

if TYPE_CHECKING:
    from online.state import State

_about = msgspec.json.Encoder(order="sorted")
_changes = msgspec.json.Decoder(RulesChange)


class PricingFold:
    """Folds pricing's records into a state. Keeps nothing of its own."""

    def __init__(self, state: "State") -> None:
        self.state = state
        self._settings = state.settings.pricing
        self._seed = np.uint64(state.settings.seed & 0xFFFFFFFFFFFFFFFF)
        self._given = np.empty(FEATURES_MAX)

    @property
    def _learning(self) -> bool:
        return bool(self.state.views.frame.learning[0] == 1)

    def record(self, position: int, record: PricingRecord) -> None:
        """Fold one record."""
        match record:
            case FlightUpsert():
                self._flight(position, record)
            case Quote():
                self._quote(position, record)
            case QuoteOutcome():
                self._outcome(position, record)
            case Cancellation():
                self._cancellation(position, record)
            case Tick():
                for _ in range(record.flights):
                    if not solve_next(self.state):
                        break
        self.state.views.frame.position[0] = position

    def change_rules(self, position: int, arguments: str) -> None:
        """The act `rules`."""
        view = self.state.views.selling
        used = int(view.rules_used[0])
        change = _changes.decode(arguments)
        rules = changed(decode_rules(view.rules[:used].tobytes()), put=change.put, remove=change.remove)
        content = encode_rules(rules)
        if len(content) <= len(view.rules):  # the service refuses a set that is larger
            view.rules[:] = 0
            view.rules[: len(content)] = np.frombuffer(content, np.uint8)
            view.rules_used[:] = (len(content), position)

    # Flights --------------------------------------------------------------------------------------------------------

    def _flight(self, position: int, record: FlightUpsert) -> None:
        state, counters = self.state, self.state.views.selling.counters
        market = market_row(state, record.market, record.floor_cents, record.ceiling_cents)
        if market < 0:
            counters[REFUSED] += 1
            return
        key = np.uint64(hash64(record.flight_id))
        flight = int(find_row(state.views.selling.flights, key))
        if flight < 0:
            state.ensure("flights", 1)
            if room(state.views.selling.flights) == 0:
                state.views.selling.counters[EVICTED] += state.evict("flights")
                seats.forget_claims(state)
            flight = int(add_row(state.views.selling.flights, key))
        self._describe(flight, record)
        p, sales = state.views.pricing, state.views.selling.sales
        ladder = np.zeros(FARES_MAX, np.int32)
        filed = record.ladder_cents[:FARES_MAX]
        fares = len(filed) or int(default_ladder(record.floor_cents, record.ceiling_cents, ladder))
        if filed:
            ladder[:fares] = filed
        if sales.last_position[flight] == 0 and state.views.selling.market_clock_ms[market] > 0:
            # Put while its market's time runs: on sale from now on, or from when others of the market are first asked
            # for. Otherwise from its first request on.
            since = max(int(state.views.selling.market_clock_ms[market]), self._asked_from(market, record.departs_ms))
            p.flights.advanced_ms[flight] = since if since < record.departs_ms else 0
        sales.last_position[flight] = position
        sales.floor_cents[flight] = record.floor_cents
        sales.ceiling_cents[flight] = record.ceiling_cents
        sales.filed[flight] = bool(filed)
        left = record.capacity - int(sales.taken[flight]) - int(sales.held[flight])
        begin_flight(p, flight, market, record.departs_ms, record.capacity, left, ladder, fares)
        p.flights.feature[flight] = self._features(record.features)
        sales.due[flight] = position  # solved by its first request, or when there is time
        touch(state.moved.flights, flight)
        touch(state.moved.markets, market)

    def _asked_from(self, market: int, departs_ms: int) -> int:
        """Event time before which nobody has asked for a flight of this market that leaves then; 0: not known."""
        known = np.flatnonzero(self.state.views.pricing.markets.contexts[market])
        if not len(known) or int(known[-1]) + 1 >= WINDOWS:
            return 0
        return max(0, departs_ms - int(WINDOW_DAYS[int(known[-1]) + 1] * DAY_MS))

    def _describe(self, flight: int, record: FlightUpsert) -> None:
        state = self.state
        said = {
            "flight_id": record.flight_id,
            "market": record.market,
            "currency": record.currency,
            "features": record.features or {},
        }
        content = _about.encode(said)
        state.ensure_text("flight", len(content))
        write_text(state.views.selling.about, flight, content)

    def _features(self, features: dict[str, float] | None) -> np.ndarray[Any, np.dtype[np.float64]]:
        given = self._given
        given[:] = np.nan
        for name in sorted(features or ()):
            place = int(add_feature(self.state.views.pricing.features, np.uint64(hash64(name))))
            if place >= 0:
                given[place] = features[name]  # type: ignore[index]
        return given

    def _row(self, flight_id: str) -> int:
        return int(find_row(self.state.views.selling.flights, np.uint64(hash64(flight_id))))

    # Quotes ---------------------------------------------------------------------------------------------------------

    def _quote(self, position: int, record: Quote) -> None:
        state = self.state
        view, p = state.views.selling, state.views.pricing
        key = np.uint64(hash64(record.quote_id))
        flight = self._row(record.flight_id)
        if flight < 0 or find(view.quotes.ring, key) >= 0:
            view.counters[UNMATCHED] += 1
            return
        at_ms = record.at_ms
        market = int(p.flights.market[flight])
        if at_ms < int(view.market_clock_ms[market]) - DAY_MS:
            view.market_clock_ms[market] = at_ms  # a past is played once more: the market's time begins again there
        if p.flights.arrived[flight] == 0.0 and at_ms < p.flights.advanced_ms[flight]:
            p.flights.advanced_ms[flight] = 0  # asked for before it was taken to be on sale
        self._advance(flight, at_ms)
        for_sale = record.fare_cents >= 0
        asked = hash64(",".join(f"{name}={value!r}" for name, value in sorted((record.features or {}).items())))
        repeated = for_sale and self._replaces(flight, asked, at_ms)
        given = self._features(record.features)
        flight_told(p, flight, given)
        client = np.uint64(hash64(record.client))
        gone = at_ms >= int(p.flights.departs_ms[flight])  # and so nothing is learned of who asks
        if not gone and self._asked(flight, given, at_ms, client, counts=not repeated):
            all_due(state, market, position)
        view.counters[QUOTES if for_sale else NOT_SOLD] += 1
        number = self._remember(position, record, key, flight, asked, given, client)
        if for_sale:
            self._link(flight, number)
            view.sales.fare_cents[flight] = record.fare_cents
        if record.hold_until_ms:
            seats_move(p, flight, at_ms, self._learning, seats.closed(state, flight))
            seats.hold(state, flight, int(key), at_ms, record.hold_until_ms, position)
        after_record(state, flight, position)

    def _asked(self, flight: int, given: np.ndarray[Any, Any], at_ms: int, client: np.uint64, *, counts: bool) -> bool:
        """Learn that somebody asked (`counts`); whether the market was found to have broken away."""
        view, p = self.state.views.selling, self.state.views.pricing
        market = int(p.flights.market[flight])
        if not self._learning:
            return False
        key = view.markets.key[market]
        broke = bool(quote_came(p, market, flight, key, self._seed, given, at_ms, client, counts))
        view.counters[BREAKS] += broke
        return broke

    def _remember(
        self,
        position: int,
        record: Quote,
        key: np.uint64,
        flight: int,
        asked: int,
        given: np.ndarray[Any, Any],
        client: np.uint64,
    ) -> int:
        quotes = self.state.views.selling.quotes
        capacity = len(quotes.flight)
        if int(quotes.ring.pushed[0]) - int(quotes.cursor[0]) >= capacity:
            oldest = int(quotes.cursor[0])
            if quotes.state[oldest % capacity] == OPEN:
                self._close(oldest, CLOSED_EARLY)
                self.state.views.selling.counters[EARLY] += 1
            quotes.cursor[0] = oldest + 1
        number = int(push(quotes.ring, key))
        row = number % capacity
        quotes.flight[row] = flight
        quotes.at_ms[row] = record.at_ms
        quotes.received_ms[row] = record.received_ms
        quotes.expires_ms[row] = record.expires_ms
        quotes.fare_cents[row] = record.fare_cents
        quotes.position[row] = position
        quotes.state[row] = OPEN if record.fare_cents >= 0 else NOT_FOR_SALE
        quotes.asked[row] = asked
        quotes.feature[row] = given
        quotes.client[row] = client
        quotes.counted[row] = 0.0
        quotes.older[row] = -1
        return number

    def _link(self, flight: int, number: int) -> None:
        view = self.state.views.selling
        view.quotes.older[number % len(view.quotes.flight)] = view.sales.newest_quote[flight]
        view.sales.newest_quote[flight] = number

    def _open(self, flight: int) -> list[int]:
        """Numbers of a flight's open quotes, the newest first."""
        view = self.state.views.selling
        found, number = [], int(view.sales.newest_quote[flight])
        while number >= 0:
            found.append(number)
            number = int(view.quotes.older[number % len(view.quotes.flight)])
        return found

    def _close(self, number: int, state: int) -> None:
        """An open quote is open no more: out of its flight's chain, and learned where it is a "no" or a "yes"."""
        view = self.state.views.selling
        quotes = view.quotes
        row = number % len(quotes.flight)
        flight = int(quotes.flight[row])
        quotes.state[row] = state
        if flight < 0:
            return
        newer = -1
        for other in self._open(flight):
            if other == number:
                if newer < 0:
                    view.sales.newest_quote[flight] = quotes.older[row]
                else:
                    quotes.older[newer % len(quotes.flight)] = quotes.older[row]
                break
            newer = other
        if state in (SAID_NO, SILENT, selling.BOOKED):
            self._learn(row, booked=state == selling.BOOKED)

    def _learn(self, row: int, *, booked: bool) -> None:
        quotes, p = self.state.views.selling.quotes, self.state.views.pricing
        flight = int(quotes.flight[row])
        if flight >= 0 and self._learning:
            fare = int(quotes.fare_cents[row])
            at_ms, client = int(quotes.at_ms[row]), quotes.client[row]
            quotes.counted[row] = outcome_known(p, flight, quotes.feature[row], at_ms, fare, booked, client)
            touch(self.state.moved.markets, int(p.flights.market[flight]))

    def _learn_late(self, row: int, was: int, *, booked: bool) -> None:
        """What is said of a quote that was closed before: said is said."""
        quotes, p = self.state.views.selling.quotes, self.state.views.pricing
        flight, at_ms = int(quotes.flight[row]), int(quotes.at_ms[row])
        if flight < 0 or int(quotes.fare_cents[row]) < 0 or not self._learning:
            return
        client = quotes.client[row]
        if was == REPEATED:  # both questions are answered, so two travellers asked
            self._asked(flight, quotes.feature[row], at_ms, client, counts=True)
        if was in (REPEATED, CLOSED_EARLY):
            self._learn(row, booked=booked)
        elif was in (SILENT, SAID_NO) and booked and quotes.counted[row] > 0.0:
            fare, counted = int(quotes.fare_cents[row]), float(quotes.counted[row])
            booked_after_all(p, flight, quotes.feature[row], at_ms, fare, client, counted)
            touch(self.state.moved.markets, int(p.flights.market[flight]))

    def _replaces(self, flight: int, asked: int, at_ms: int) -> bool:
        """Whether this is an open quote's traveller once more; that quote then teaches nothing."""
        quotes = self.state.views.selling.quotes
        window_ms = self._settings.repeat_window_s * 1_000
        for number in self._open(flight):
            row = number % len(quotes.flight)
            if quotes.asked[row] == asked and 0 <= at_ms - int(quotes.at_ms[row]) < window_ms:
                self._close(number, REPEATED)
                self.state.views.selling.counters[REPEATS] += 1
                return True
        return False

    def _advance(self, flight: int, at_ms: int) -> None:
        """The flight's time moves on: its quotes expire, a day ends. Its market's time does, until the flight has left:
        a date behind that moves nobody else's."""
        state = self.state
        view, p = state.views.selling, state.views.pricing
        clock = int(view.sales.clock_ms[flight])
        market = int(p.flights.market[flight])
        if at_ms > clock:
            if clock > 0 and at_ms // DAY_MS > clock // DAY_MS:
                view.sales.day_fare_cents[flight] = view.sales.fare_cents[flight]
            view.sales.clock_ms[flight] = at_ms
        before = int(view.market_clock_ms[market])
        if before < at_ms < int(p.flights.departs_ms[flight]):
            view.market_clock_ms[market] = at_ms
            if at_ms // DAY_MS > before // DAY_MS:
                all_due(state, market, int(view.sales.last_position[flight]) + 1)
        quotes = view.quotes
        for number in self._open(flight):
            if int(quotes.expires_ms[number % len(quotes.flight)]) < at_ms:
                self._close(number, SILENT)
                view.counters[EXPIRED] += 1
        self._sweep()

    def _sweep(self) -> None:
        """Quotes of flights that nobody asks about any more expire by their market's time."""
        view, p = self.state.views.selling, self.state.views.pricing
        quotes = view.quotes
        capacity, pushed = len(quotes.flight), int(quotes.ring.pushed[0])
        number = max(int(quotes.cursor[0]), pushed - capacity)
        while number < pushed:
            row = number % capacity
            if quotes.state[row] == OPEN:
                flight = int(quotes.flight[row])
                if flight >= 0:
                    market = int(p.flights.market[flight])
                    if int(quotes.expires_ms[row]) >= int(view.market_clock_ms[market]):
                        break
                self._close(number, SILENT)
                view.counters[EXPIRED] += 1
            number += 1
        quotes.cursor[0] = number

    # Outcomes -------------------------------------------------------------------------------------------------------

    def _outcome(self, position: int, record: QuoteOutcome) -> None:
        state = self.state
        view, p, counters = state.views.selling, state.views.pricing, state.views.frame.counters
        counters[RECEIVED] += 1
        key = np.uint64(hash64(record.quote_id))
        flight = self._row(record.flight_id)
        booked = record.outcome == BOOKED
        if flight >= 0:
            seats_move(p, flight, record.at_ms, self._learning, seats.closed(state, flight))
            if booked:
                seats.take(state, flight, int(key), record.at_ms, position)
            else:
                seats.let_go(state, flight, int(key), record.at_ms)
        view = state.views.selling
        number = int(find(view.quotes.ring, key))
        if number < 0 or flight < 0:
            counters[LATE] += 1
            view.counters[UNMATCHED] += 1
        else:
            row = number % len(view.quotes.flight)
            was = int(view.quotes.state[row])
            if was == OPEN:
                self._close(number, selling.BOOKED if booked else SAID_NO)
                counters[APPLIED] += 1
            elif was == (selling.BOOKED if booked else SAID_NO):
                counters[DUPLICATE] += 1
            else:
                self._learn_late(row, was, booked=booked)
                view.quotes.state[row] = selling.BOOKED if booked else SAID_NO
                counters[APPLIED if was == REPEATED else LATE] += 1
            view.counters[BOOKINGS if booked else DECLINED] += 1
        if flight >= 0:
            self._advance(flight, record.at_ms)
            after_record(state, flight, position)

    def _cancellation(self, position: int, record: Cancellation) -> None:
        state = self.state
        counters = state.views.frame.counters
        counters[RECEIVED] += 1
        flight = self._row(record.flight_id)
        if flight < 0:
            counters[LATE] += 1
            return
        claim = seats.claim_row(state, hash64(record.quote_id))
        if claim >= 0:
            seats_move(state.views.pricing, flight, record.at_ms, self._learning, seats.closed(state, flight))
            if self._learning and state.views.selling.claims.state[claim] == TAKEN:
                given_back(state.views.pricing, flight, record.at_ms, self._client_of(record))
        if seats.give_back(state, flight, hash64(record.quote_id), record.at_ms, position):
            counters[APPLIED] += 1
            state.views.selling.counters[CANCELLED] += 1
        else:
            counters[DUPLICATE] += 1
        self._advance(flight, record.at_ms)
        after_record(state, flight, position)

    def _client_of(self, record: Cancellation) -> np.uint64:
        """Who had asked for what is given back; the one that says so, where the quote is not remembered any more."""
        quotes = self.state.views.selling.quotes
        number = int(find(quotes.ring, np.uint64(hash64(record.quote_id))))
        if number < 0:
            return np.uint64(hash64(record.client))
        return np.uint64(quotes.client[number % len(quotes.client)])
