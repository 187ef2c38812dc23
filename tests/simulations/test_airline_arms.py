"""Arms that sell to the same travellers: what is noted of them, how it compares, and how a report shows it."""

import math
import re
import time
from xml.etree import ElementTree

import numpy as np
import pytest

from simulations.airline_arms import (
    OPTIMUM,
    Running,
    Watched,
    booking_curve,
    fares_over_time,
    gain_over,
    read_moves,
    revenue_by_flight,
    share_of_optimum,
    write_moves,
)
from simulations.airline_demo import demo_market, write_past_bookings
from simulations.airline_history import PastRule
from simulations.airline_market import DAY_MS, DAYS, play
from simulations.airline_optimum import Optimum
from simulations.fares_results import Fares, fares_rows, fares_sentence
from simulations.measurements import CHAMPION, LIVE
from simulations.report_fares import fares_section
from simulations.terminal import fares_line


def market(drift=1.0):
    return demo_market(3, drift=drift, flights_per_route=2)


@pytest.fixture(scope="module")
def played():
    """Two arms and the optimum, with what `play` counted of each."""
    moves, takings = [], {}
    for arm, seller in ((OPTIMUM, Optimum()), (CHAMPION, PastRule(1)), (LIVE, PastRule(2, strays=0))):
        watched = Watched(arm, seller)
        takings[arm] = play(market(), watched)
        moves += watched.moves
    return moves, takings


def test_what_is_noted_of_an_arm_is_what_it_took(played):
    moves, takings = played
    for arm, took in takings.items():
        np.testing.assert_array_equal(revenue_by_flight(moves, arm, 8), took.revenue_cents)
        assert sum(1 for m in moves if m.arm == arm and m.seats > 0) == took.booked.sum()
        assert sum(1 for m in moves if m.arm == arm and m.seats == 0) == took.requests.sum()


def test_a_share_pairs_flight_by_flight(played):
    moves, _ = played
    best, mine = (revenue_by_flight(moves, arm, 8) for arm in (OPTIMUM, LIVE))
    assert share_of_optimum(best, best).percent == 100.0
    assert share_of_optimum(best, best).error < 1e-9
    assert gain_over(mine, mine, best).percent == 0.0
    half = share_of_optimum(0.5 * best, best)  # the same half of every flight is known exactly
    assert (half.percent, round(half.error, 9)) == (50.0, 0.0)
    assert gain_over(best, mine, best).percent == pytest.approx(100.0 - share_of_optimum(mine, best).percent)
    assert math.isnan(share_of_optimum(mine, np.zeros(8)).percent)


def test_takings_so_far_end_in_the_share_of_the_whole(played):
    moves, takings = played
    running = Running([move for move in moves if move.arm == OPTIMUM])
    last = max(move.at_ms for move in moves)
    whole = takings[OPTIMUM].revenue_cents.sum()
    assert running.taken(last) == whole
    assert math.isnan(running.percent(5.0, 0))
    assert running.percent(whole / 2, last) == 50.0
    points = Fares.of(market(), moves).cumulative(LIVE)
    assert points[-1][1] == pytest.approx(100.0 * takings[LIVE].revenue_cents.sum() / whole)


def test_a_booking_curve_ends_at_the_seats_that_are_gone(played):
    moves, takings = played
    seats = sum(market().routes[f.route].capacity for f in market().flights)
    curve = booking_curve(moves, LIVE, seats)
    back = sum(1 for move in moves if move.arm == LIVE and move.seats < 0)
    assert (curve[0][0], curve[-1][0]) == (DAYS, 0.0)
    assert curve[-1][1] == pytest.approx(100.0 * (takings[LIVE].booked.sum() - back) / seats)
    assert 0.0 <= min(share for _, share in curve) and max(share for _, share in curve) <= 100.0


def test_fares_over_time_are_means_of_what_was_quoted(played):
    moves, _ = played
    reference = [market().routes[f.route].reference_cents for f in market().flights]
    weeks = fares_over_time(moves, LIVE, reference)
    assert all(30.0 < fare < 250.0 for _, fare in weeks)
    assert [day for day, _ in weeks] == sorted({day for day, _ in weeks})
    assert fares_over_time([], LIVE, reference) == []


def test_moves_are_read_as_they_were_written(played, tmp_path):
    moves, _ = played
    write_moves(tmp_path / "moves.csv", moves)
    assert read_moves(tmp_path / "moves.csv") == moves


def test_a_pace_is_kept():
    began, m = time.monotonic(), demo_market(3, drift=0.0, flights_per_route=1)
    first = min(f.departure_day for f in m.flights) - DAYS
    start_ms = m.flights[0].departs_ms - m.flights[0].departure_day * DAY_MS + first * DAY_MS
    paced = Watched(LIVE, PastRule(1), wall_s=lambda at_ms: began + (at_ms - start_ms) / DAY_MS * 0.005)
    play(m, paced)
    assert time.monotonic() - began >= 0.005 * (paced.clock_ms - start_ms) / DAY_MS - 0.01


def test_what_has_jumped_stays_where_it_is_in_the_next_season():
    now, then = demo_market(3, drift=1.0), demo_market(3, drift=1.0, season=1)
    assert max(f.departure_day for f in now.flights) <= min(f.departure_day for f in then.flights) - DAYS
    assert then.drift_day < 0 and demo_market(3, drift=0.0, season=1).drift == "none"


def test_the_past_of_a_demo_ends_before_its_first_request(tmp_path):
    rows = write_past_bookings(tmp_path / "b.csv", 3)
    assert rows == len((tmp_path / "b.csv").read_text().splitlines()) - 1 > 300


def test_the_report_shows_both_arms_and_the_optimum(played):
    fares = Fares.of(market(), played[0])
    page = fares_section(fares)
    plots = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(plots) == 3
    for plot in plots:
        assert ElementTree.fromstring(plot).get("aria-label") and "nan" not in plot
    assert page.count("demand jumps") == 2
    rows = fares_rows(fares)
    assert f"{fares.share(LIVE).percent:.1f} % ± {fares.share(LIVE).error:.1f}" == rows[0][2]
    assert f"{fares.gain.percent:+.1f} points" in fares_sentence(fares)
    still = Fares.of(market(drift=0.0), played[0])
    assert still.jump_day is None and "where nothing moves" in fares_sentence(still)
    assert "demand jumps" not in fares_section(still)


def test_one_line_tells_where_they_stand():
    told = {"arms": {LIVE: 94.56, CHAMPION: None}, "flights": 40, "day": 60.2, "days": 113, "jump_day": 54}
    assert fares_line(told) == (
        "fares, of the optimum's takings so far · frozen - · continued 94.6 % · 40 flights, day 60 of 113, "
        "demand has jumped on day 54"
    )
