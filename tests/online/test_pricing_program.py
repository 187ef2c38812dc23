"""What a seat is worth: against a brute-force program, and the laws that any such table keeps."""

import numpy as np
import pytest

from online.pricing.arrays import begin_flight, begin_market, begin_pool, pricing_capacity, pricing_views
from online.pricing.demand import ladder_probabilities, set_input, set_theta, situation
from online.pricing.fare import choose_fare, default_ladder, quote
from online.pricing.layout import DAY_MS, FARES_MAX, FEATURES_MAX, PRICING_COLUMNS, TABLE_SEATS
from online.pricing.posterior import roll_market
from online.pricing.program import bid_price_cents, fluid_bid_price_cents, seat_node, seat_place, solve_flight
from online.pricing.settings import Settings
from online.tables import allocate

NOW_MS = 1_800_000_000_000
NOTHING = np.full(FEATURES_MAX, np.nan)


def one_flight(*, capacity=5, days=3.0, per_day=2.0, cancels=0.0, rungs=None, **changes):
    """A flight of a market whose demand and arrivals are known: so many requests on every day."""
    arrays = allocate(PRICING_COLUMNS, {**pricing_capacity(), "markets": 1, "flights": 1})
    begin_pool(arrays)
    p = pricing_views(arrays, Settings(**{"exploration": 0.0, "dispersion": 0.0} | changes))
    begin_market(p, 0, 20_000.0, 1)
    roll_market(p, 0, np.uint64(1), np.uint64(1), NOW_MS)
    arrays["markets.window_shape"][0] = 1e6 * per_day
    arrays["markets.window_rate"][0] = 1e6
    arrays["markets.cancel"][0] = (1e6 * cancels, 1e6)
    ladder = np.zeros(FARES_MAX, np.int32)
    if rungs is None:
        fares = default_ladder(11_000, 36_000, ladder)
    else:
        fares = len(rungs)
        ladder[:fares] = rungs
    begin_flight(p, 0, 0, int(NOW_MS + days * DAY_MS), capacity, capacity, ladder, fares)
    return arrays, p


def probabilities(arrays, p, days):
    """pi at each rung for a request so many days before departure."""
    fares = int(arrays["flights.fares"][0])
    p.scratch.raw[:] = np.nan
    set_theta(p, 0)
    set_input(p, 0, 0, days)
    share, utility = situation(p.trunk, p.scratch.theta, p.scratch.input)
    out = np.zeros(FARES_MAX)
    ladder_probabilities(p.scratch.theta, share, utility, 20_000.0, arrays["flights.ladder_cents"][0], fares, out)
    return out[:fares]


def brute_force(arrays, p, *, capacity, days, per_day, cancels=0.0, steps=2_000):
    """V(n) by steps so short that one request at most falls into each, demand taken at each step's own moment."""
    ladder = arrays["flights.ladder_cents"][0][: int(arrays["flights.fares"][0])].astype(float)
    value, width = np.zeros(capacity + 1), days / steps
    for step in range(steps):
        pi = probabilities(arrays, p, (step + 0.5) * width)
        new = value.copy()
        for n in range(capacity + 1):
            if n:
                gain = max(0.0, (pi * (ladder - (value[n] - value[n - 1]))).max())
                new[n] += per_day * width * gain
            if n < capacity:
                new[n] += (capacity - n) * cancels * width * (value[n + 1] - value[n])
        value = new
    return value


@pytest.mark.parametrize(
    ("capacity", "days", "per_day", "cancels"),
    [(1, 2.0, 1.0, 0.0), (4, 3.0, 3.0, 0.0), (6, 10.0, 1.0, 0.0), (5, 4.0, 3.0, 0.05), (21, 12.0, 4.0, 0.0)],
)
def test_the_program_agrees_with_brute_force(capacity, days, per_day, cancels):
    arrays, p = one_flight(capacity=capacity, days=days, per_day=per_day, cancels=cancels)
    solve_flight(p, 0, NOW_MS)
    value = brute_force(arrays, p, capacity=capacity, days=days, per_day=per_day, cancels=cancels)
    assert arrays["flights.value_cents"][0] == pytest.approx(value[capacity], rel=0.01)
    worth = [bid_price_cents(p, 0, NOW_MS, n) for n in range(1, capacity + 1)]
    np.testing.assert_allclose(worth, np.diff(value), rtol=0.02, atol=0.01 * value[1])


def test_a_seat_is_worth_less_the_more_there_are_and_the_later_it_is():
    _, p = one_flight(capacity=60, days=40.0, per_day=2.5)
    solve_flight(p, 0, NOW_MS)
    for day in (0.0, 7.3, 20.0, 33.0, 39.9):
        worth = [bid_price_cents(p, 0, int(NOW_MS + day * DAY_MS), n) for n in range(1, 61)]
        assert (np.diff(worth) <= 1e-3).all()
        assert min(worth) >= 0.0
    for n in (1, 5, 20, 60):
        worth = [bid_price_cents(p, 0, int(NOW_MS + day * DAY_MS), n) for day in np.linspace(0.0, 40.0, 81)]
        assert worth[-1] == pytest.approx(0.0, abs=1e-6)
        assert worth[0] >= worth[40] >= worth[-1]


def test_a_table_that_is_days_old_says_what_a_new_one_would():
    _, p = one_flight(capacity=30, days=40.0, per_day=1.5)
    solve_flight(p, 0, NOW_MS)
    then = NOW_MS + 2 * DAY_MS
    old = [bid_price_cents(p, 0, then, n) for n in (3, 10, 25)]
    solve_flight(p, 0, then)
    np.testing.assert_allclose(old, [bid_price_cents(p, 0, then, n) for n in (3, 10, 25)], rtol=0.02, atol=20.0)


def test_more_demand_makes_a_seat_dearer():
    worth = []
    for per_day in (0.5, 1.0, 2.0, 4.0):
        _, p = one_flight(capacity=20, days=30.0, per_day=per_day)
        solve_flight(p, 0, NOW_MS)
        worth.append(bid_price_cents(p, 0, NOW_MS, 20))
    assert (np.diff(worth) > 0.0).all()


def test_the_fluid_bid_price_is_near_the_program_s_for_many_seats():
    _, p = one_flight(capacity=100, days=50.0, per_day=6.0)
    solve_flight(p, 0, NOW_MS)
    step = 36_000 / 31
    assert fluid_bid_price_cents(p, 0, NOW_MS, 100) == pytest.approx(bid_price_cents(p, 0, NOW_MS, 100), abs=1.5 * step)


def test_places_of_seats_are_the_inverse_of_their_nodes():
    nodes = [seat_node(k) for k in range(TABLE_SEATS)]
    assert nodes == sorted(set(nodes)) and nodes[:16] == list(range(1, 17)) and nodes[-1] == 512
    for seats in range(1, 700):
        k, share = seat_place(seats)
        reached = nodes[k] if share == 0.0 else nodes[k] + share * (nodes[k + 1] - nodes[k])
        assert reached == pytest.approx(min(seats, 512))


def test_a_flight_that_left_or_has_no_fares_is_worth_nothing():
    arrays, p = one_flight()
    solve_flight(p, 0, NOW_MS + 4 * DAY_MS)
    assert arrays["flights.value_cents"][0] == 0.0 and bid_price_cents(p, 0, NOW_MS + 4 * DAY_MS, 3) == 0.0
    arrays["flights.fares"][0] = 0
    solve_flight(p, 0, NOW_MS)
    assert choose_fare(p, 0, NOTHING, NOW_MS, 0.0) == -1


@pytest.mark.parametrize("bid_price", [0.0, 5_000.0, 14_321.0, 30_000.0])
def test_the_fare_is_the_rung_of_the_greatest_expected_gain(bid_price):
    arrays, p = one_flight()
    pi = probabilities(arrays, p, 3.0)
    ladder = arrays["flights.ladder_cents"][0][: len(pi)]
    assert choose_fare(p, 0, NOTHING, NOW_MS, bid_price) == int(np.argmax(pi * (ladder - bid_price)))


def test_a_seat_worth_more_than_any_fare_is_quoted_at_the_dearest():
    arrays, p = one_flight()
    assert choose_fare(p, 0, NOTHING, NOW_MS, 1e7) == arrays["flights.fares"][0] - 1


def test_an_old_or_missing_table_is_replaced_by_the_fluid_bound():
    _, p = one_flight(days=20.0)
    rung, bid_price, fluid = quote(p, 0, NOTHING, NOW_MS, 3, DAY_MS)
    assert fluid and bid_price == fluid_bid_price_cents(p, 0, NOW_MS, 3) and rung >= 0
    solve_flight(p, 0, NOW_MS)
    assert not quote(p, 0, NOTHING, NOW_MS + DAY_MS, 3, DAY_MS)[2]
    assert quote(p, 0, NOTHING, NOW_MS + DAY_MS + 1, 3, DAY_MS)[2]


def test_fares_too_much_alike_are_moved_a_little_and_only_where_it_is_cheap():
    arrays, p = one_flight(dispersion=0.05, dispersion_distance=0.05, dispersion_regret=0.05)
    still = choose_fare(p, 0, NOTHING, NOW_MS, 3_000.0)
    fare = float(arrays["flights.ladder_cents"][0, still])
    arrays["markets.dispersion"][0] = (25.0, fare / 20_000.0 - 1.0, 1e-6, 100.0)
    moved = choose_fare(p, 0, NOTHING, NOW_MS, 3_000.0)
    assert abs(moved - still) == 1
    q = p._replace(knobs=p.knobs._replace(dispersion_regret=0.0))
    assert choose_fare(q, 0, NOTHING, NOW_MS, 3_000.0) == still
    arrays["markets.dispersion"][0, 2] = 10.0
    assert choose_fare(p, 0, NOTHING, NOW_MS, 3_000.0) == still


@pytest.mark.parametrize(("floor", "ceiling"), [(9_900, 49_900), (100, 101), (1, 5), (500, 500), (700, 300)])
def test_a_band_without_a_ladder_gets_one_within_it(floor, ceiling):
    ladder = np.zeros(FARES_MAX, np.int32)
    count = default_ladder(floor, ceiling, ladder)
    rungs = ladder[:count]
    assert (
        (np.diff(rungs) > 0).all() and rungs[0] == floor and rungs[-1] == max(floor, ceiling if ceiling > floor else 0)
    )
