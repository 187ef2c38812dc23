"""Seasons may be played at any pace, again, or one flight after another; answers may come late, or not at all."""

import numpy as np

from online.fold import Fold
from online.pricing.layout import LINEAR
from online.pricing.records import BOOKED, DECLINED, Cancellation
from online.records import Begin, Record
from online.settings import settings_text
from online.state import State
from tests.online.pricing.test_pricing_fold import (
    DAY_MS,
    SETTINGS,
    START_MS,
    counted,
    flight,
    folded,
    outcome,
    quote,
)


def season(name: str, *, first_day: int = 0, days: int = 10) -> list[Record]:
    """A flight that somebody asks about every day, and every third traveller books."""
    asked: list[Record] = [flight(name, capacity=9, days=first_day + days)]
    for day in range(days):
        at_ms = START_MS + (first_day + day) * DAY_MS + 3_600_000
        asked.append(quote(f"{name}-{day}", name, at_ms, features={"bag": day % 2}))
        asked.append(outcome(f"{name}-{day}", name, BOOKED if day % 3 == 0 else DECLINED, at_ms + 1_000))
    return asked


def test_a_date_behind_a_flights_departure_moves_nobody_elses_time() -> None:
    """One question, or one outcome, of the year 5138: the market would forget all, and never begin another day."""
    far_ms = 100_000_000_000_000
    records = [*season("f"), flight("g", days=90), quote("open", "g", START_MS + 9 * DAY_MS + 4_000_000)]
    told = [outcome(name, "f", DECLINED, far_ms) for name in ("far", "f-9")]
    before, after = folded(records), folded([*records, quote("far", "f", far_ms, -1), *told])
    for name in ("day", "mean", "precision", "level", "window_shape"):
        mine, theirs = (getattr(state.views.pricing.markets, name)[0] for state in (before, after))
        assert (mine == theirs).all(), name
    assert before.views.selling.market_clock_ms[0] == after.views.selling.market_clock_ms[0]
    assert counted(after)["expired"] == counted(before)["expired"] == 0


def row(state: State, name: str, flight_row: int) -> float:
    return float(getattr(state.views.pricing.flights, name)[flight_row])


def logit_moved(state: State) -> float:
    """What is learned of everybody's utility, as far as a test's few outcomes move it."""
    return float(state.views.pricing.markets.mean[0, :2].sum())


def test_a_past_that_is_played_once_more_is_priced_and_learned_in_its_own_time() -> None:
    later = season("f", first_day=200)
    state = folded([*later, *season("g", first_day=0)])
    assert counted(state)["expired"] == 0, "no quote expires by a time that its season has not reached"
    assert counted(state)["booked"] == 8
    tenth_day = START_MS + 9 * DAY_MS
    assert tenth_day <= row(state, "solved_ms", 1) < tenth_day + DAY_MS, "its table is of its own time"
    assert row(state, "arrived", 1) == 9.0
    assert 0.0 < row(state, "expected", 1) < 60.0, "and so is the time in which others are counted"
    alone = folded(season("g", first_day=0))
    assert row(alone, "expected", 0) > 0.0
    assert row(state, "solved_ms", 0) == row(folded(later), "solved_ms", 0), "the season before it stays as it was"


def test_a_late_word_does_not_turn_a_market_s_time_back() -> None:
    asked = [flight("f", capacity=9), quote("a"), quote("b", at_ms=START_MS + 5 * DAY_MS)]
    state = folded([*asked, quote("c", at_ms=START_MS + 5 * DAY_MS - DAY_MS, features={"bag": 1.0})])
    assert int(state.views.selling.market_clock_ms[0]) == START_MS + 5 * DAY_MS
    state = folded([*asked, outcome("a", at_ms=START_MS)])
    assert int(state.views.selling.market_clock_ms[0]) == START_MS + 5 * DAY_MS


def test_a_booking_that_is_told_after_its_quote_expired_counts_as_the_yes_that_it_was() -> None:
    asked: list[Record] = [flight("f", capacity=9), quote("a")]
    after = quote("b", at_ms=START_MS + 2 * 900_000, features={"bag": 1.0})
    silent = folded([*asked, after])
    told = folded([*asked, after, outcome("a")])
    in_time = folded([*asked, outcome("a"), after])
    assert counted(told)["expired"] == 1
    markets = told.views.pricing.markets
    assert (markets.precision[0] == silent.views.pricing.markets.precision[0]).all(), "one traveller, one observation"
    gap, moved = logit_moved(told) - logit_moved(in_time), logit_moved(in_time) - logit_moved(silent)
    assert moved > 0.5
    assert abs(gap) < 0.35 * moved
    assert float(markets.drift[0, 0]) > 0.0
    # The same for a traveller who said no and came back within the quote's time.
    changed = folded([*asked, outcome("a", what=DECLINED), outcome("a")])
    assert logit_moved(changed) > logit_moved(folded([*asked, outcome("a", what=DECLINED)]))


def test_the_same_question_twice_and_both_answered_are_two_travellers() -> None:
    first = quote("z", at_ms=START_MS - 7_200_000)
    both: list[Record] = [flight("f", capacity=9), first, quote("a"), quote("b")]
    one = folded([*both, outcome("b", what=DECLINED)])
    two = folded([*both, outcome("b", what=DECLINED), outcome("a", what=DECLINED)])
    assert (row(one, "arrived", 0), row(two, "arrived", 0)) == (1.0, 2.0)


def test_a_sold_out_flight_that_nobody_is_seen_asking_for_says_nothing_about_demand() -> None:
    sold: list[Record] = [flight("f", capacity=1), quote("z", at_ms=START_MS - DAY_MS), quote("a"), outcome("a")]
    back = Cancellation("a", "f", START_MS + 6 * DAY_MS, 0)
    before, after = folded(sold), folded([*sold, back])
    assert row(after, "expected", 0) == row(before, "expected", 0)
    assert (after.views.pricing.markets.window_rate[0] == before.views.pricing.markets.window_rate[0]).all()
    assert float(after.views.pricing.markets.cancel[0, 1]) > float(before.views.pricing.markets.cancel[0, 1])
    # Where sold-out flights are asked for, silence is silence.
    asked = [*sold, quote("n", at_ms=START_MS + DAY_MS, fare_cents=-1)]
    counts = folded([*asked, back])
    assert row(counts, "expected", 0) > row(before, "expected", 0) + 3.0


def test_a_flight_that_is_filed_long_before_its_sale_is_not_missed_by_anybody_yet() -> None:
    known = season("f", first_day=0, days=10)  # asked for up to ten days ahead
    filed = [*known, flight("g", capacity=9, days=300)]
    state = folded([*filed, quote("h", "f", START_MS + 9 * DAY_MS + 7_200_000)])
    assert row(state, "expected", 1) == 0.0
    asked = quote("i", "g", START_MS + 290 * DAY_MS)
    state = folded([*filed, asked])
    assert row(state, "expected", 1) < 10.0


def test_what_the_log_knew_as_a_flights_own_may_come_with_a_request() -> None:
    def told(records: list[Record]) -> State:
        state = State(SETTINGS, None)
        Fold(state).entries(
            [(1, Begin(1, "", 0, settings_text(SETTINGS), 0)), (2, flight("e", features={"peak": 0.0}))]
        )
        features = state.views.pricing.features
        features.kind[0], features.scale[0], features.arrival_weight[0] = LINEAR, 0.5, 0.4
        Fold(state).entries(enumerate(records, start=3))
        return state

    by_request = told([flight("f"), quote("a", features={"peak": 1.0})])
    by_flight = told([flight("f", features={"peak": 1.0}), quote("a")])
    for name in ("feature", "bid_price", "value_cents"):
        one, other = (getattr(state.views.pricing.flights, name)[1] for state in (by_request, by_flight))
        assert np.array_equal(one, other, equal_nan=True), name
