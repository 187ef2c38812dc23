"""Pricing's part of the fold: what a record about a flight, a quote or a seat does to the state.

Time is a flight's own: what closes its quotes, ends its holds and begins its market's days is the event time of its
records, and no clock. A quote is a "no" when the traveller says so, or when it expires in that time; the same question
again within a minute, the first one unanswered, is the same traveller, and the first one teaches nothing. Requests
that found nothing for sale teach how many ask, and nothing about what they would pay. What is learned is the fare that
was shown, after all rules.
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
from online.pricing.fold_kernel import outcome_known, quote_came, seats_move, solve
from online.pricing.layout import DAY_MS, FARES_MAX, FEATURES_MAX
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
    SOLVED,
    UNMATCHED,
)
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
                    if not self._solve_next():
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
            # Put while its market's time runs: it is on sale from now on. Otherwise from its first request on.
            p.flights.advanced_ms[flight] = state.views.selling.market_clock_ms[market]
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
        self._advance(flight, at_ms)
        for_sale = record.fare_cents >= 0
        asked = hash64(",".join(f"{name}={value!r}" for name, value in sorted((record.features or {}).items())))
        repeated = for_sale and self._replaces(flight, asked, at_ms)
        given = self._features(record.features)
        if self._learning:
            market = int(p.flights.market[flight])
            key_of_market = view.markets.key[market]
            if quote_came(p, market, flight, key_of_market, self._seed, given, at_ms, not repeated):
                view.counters[BREAKS] += 1
                self._all_due(market, position)
        view.counters[QUOTES if for_sale else NOT_SOLD] += 1
        number = self._remember(position, record, key, flight, asked, given)
        if for_sale:
            self._link(flight, number)
            view.sales.fare_cents[flight] = record.fare_cents
        if record.hold_until_ms:
            seats_move(p, flight, at_ms, self._learning, False)
            seats.hold(state, flight, int(key), at_ms, record.hold_until_ms, position)
        self._finish(flight, position)

    def _remember(
        self, position: int, record: Quote, key: np.uint64, flight: int, asked: int, given: np.ndarray[Any, Any]
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
            outcome_known(p, flight, quotes.feature[row], int(quotes.at_ms[row]), fare, booked)
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
        """The flight's time moves on: its quotes expire, a day ends."""
        state = self.state
        view, p = state.views.selling, state.views.pricing
        clock = int(view.sales.clock_ms[flight])
        market = int(p.flights.market[flight])
        if at_ms > clock:
            if clock > 0 and at_ms // DAY_MS > clock // DAY_MS:
                view.sales.day_fare_cents[flight] = view.sales.fare_cents[flight]
            view.sales.clock_ms[flight] = at_ms
        before = int(view.market_clock_ms[market])
        if at_ms > before:
            view.market_clock_ms[market] = at_ms
            if at_ms // DAY_MS > before // DAY_MS:
                self._all_due(market, int(view.sales.last_position[flight]) + 1)
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
            seats_move(p, flight, record.at_ms, self._learning, False)
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
                # Its question was asked again, or it counted as a "no" by its silence, or by mistake: said is said.
                if was in (REPEATED, SILENT, CLOSED_EARLY) and (booked or was != SILENT):
                    self._learn(row, booked=booked)
                view.quotes.state[row] = selling.BOOKED if booked else SAID_NO
                counters[APPLIED if was == REPEATED else LATE] += 1
            view.counters[BOOKINGS if booked else DECLINED] += 1
        if flight >= 0:
            self._advance(flight, record.at_ms)
            self._finish(flight, position)

    def _cancellation(self, position: int, record: Cancellation) -> None:
        state = self.state
        counters = state.views.frame.counters
        counters[RECEIVED] += 1
        flight = self._row(record.flight_id)
        if flight < 0:
            counters[LATE] += 1
            return
        if seats.claim_row(state, hash64(record.quote_id)) >= 0:
            seats_move(state.views.pricing, flight, record.at_ms, self._learning, True)
        if seats.give_back(state, flight, hash64(record.quote_id), record.at_ms, position):
            counters[APPLIED] += 1
            state.views.selling.counters[CANCELLED] += 1
        else:
            counters[DUPLICATE] += 1
        self._advance(flight, record.at_ms)
        self._finish(flight, position)

    # Tables ---------------------------------------------------------------------------------------------------------

    def _all_due(self, market: int, position: int) -> None:
        """Every flight of the market that has not left is to be solved again."""
        state = self.state
        sales, flights, count = state.views.selling.sales, state.views.pricing.flights, state.count("flights")
        clock = int(state.views.selling.market_clock_ms[market])
        waiting = (flights.market[:count] == market) & (flights.departs_ms[:count] > clock) & (sales.due[:count] == 0)
        sales.due[:count][waiting] = max(1, position)

    def _finish(self, flight: int, position: int) -> None:
        """After a record about a flight: solve its table, or that of the flight that has waited longest."""
        state = self.state
        view, p = state.views.selling, state.views.pricing
        view.sales.last_position[flight] = position
        touch(state.moved.flights, flight)
        market = int(p.flights.market[flight])
        touch(state.moved.markets, market)
        pause_ms = self._settings.solve_pause_s * 1_000
        fresh = (
            p.markets.dispersion[market, 3] - view.sales.solved_outcomes[flight] < self._settings.solve_outcomes
            or view.market_clock_ms[market] - p.flights.solved_ms[flight] < pause_ms
        )
        moved = abs(int(p.flights.solved_seats[flight]) - int(p.flights.seats_left[flight]))
        if view.sales.due[flight] == 0 and fresh and moved < max(2, int(p.flights.capacity[flight]) // 20):
            self._solve_next()
        else:
            self._solve(flight)

    def _solve_next(self) -> bool:
        """Solve the flight whose table has been due for the longest time; False where none is."""
        count = self.state.count("flights")
        due = self.state.views.selling.sales.due[:count]
        waiting = np.flatnonzero(due)
        if not len(waiting):
            return False
        self._solve(int(waiting[np.argmin(due[waiting])]))
        return True

    def _solve(self, flight: int) -> None:
        state = self.state
        view, p = state.views.selling, state.views.pricing
        market = int(p.flights.market[flight])
        # A flight that was never asked for has no time of its own yet: its market's.
        at_ms = max(int(view.market_clock_ms[market]), int(view.sales.clock_ms[flight]))
        view.sales.due[flight] = 0
        if at_ms == 0 or at_ms >= int(p.flights.departs_ms[flight]):
            return
        solve(p, flight, at_ms, self._learning)
        view.sales.solved_outcomes[flight] = p.markets.dispersion[market, 3]
        view.counters[SOLVED] += 1
        touch(state.moved.flights, flight)
        touch(state.moved.markets, market)


def waiting_flights(state: "State") -> int:
    """How many tables are due."""
    return int(np.count_nonzero(state.views.selling.sales.due[: state.count("flights")]))
