"""The purchase model falls in the fare whatever its parameters, its gradient is its derivative; features; arrivals."""

import math

import numpy as np
import pytest

from online.pricing.arrays import begin_flight, begin_market, begin_pool, pricing_capacity, pricing_views
from online.pricing.arrivals import (
    advance_flight,
    cancellations_per_day,
    expected_requests,
    flight_factor,
    market_level,
    observe_cancellation,
    observe_request,
    window_of,
)
from online.pricing.demand import (
    ladder_probabilities,
    logit_gradient,
    purchase_probability,
    set_input,
    situation,
    weekday,
)
from online.pricing.features import add_feature, find_feature, overlay, scaled
from online.pricing.layout import (
    DAY_MS,
    DIMENSION,
    FARES_MAX,
    FEATURES_MAX,
    LINEAR,
    LOGARITHM,
    PRICING_COLUMNS,
    WATCH_REQUESTS,
    WATCHED,
)
from online.pricing.posterior import roll_market
from online.pricing.settings import Settings
from online.tables import allocate

NOW_MS = 1_800_000_000_000
NOTHING = np.full(FEATURES_MAX, np.nan)


@pytest.fixture
def market():
    arrays = allocate(PRICING_COLUMNS, {**pricing_capacity(), "markets": 3, "flights": 3})
    begin_pool(arrays)
    p = pricing_views(arrays, Settings(exploration=0.0))
    begin_market(p, 0, 20_000.0, 1)
    roll_market(p, 0, np.uint64(1), np.uint64(1), NOW_MS)
    begin_flight(p, 0, 0, NOW_MS + 30 * DAY_MS, 50, 50, np.zeros(FARES_MAX, np.int32), 0)
    rng = np.random.default_rng(1)
    for name in ("input", "bias", "mix", "utility"):
        arrays[f"trunk.{name}"][...] = 0.3 * rng.normal(size=arrays[f"trunk.{name}"].shape)
    for key in (1, 2):
        arrays["fare_features.kind"][add_feature(p.features, np.uint64(key))] = LINEAR
    return arrays, p


def request(p, days=10.0, values=(0.7, -1.1)):
    given = NOTHING.copy()
    given[:2] = values
    overlay(p, 0, given)
    set_input(p, 0, 0, days)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_the_parameters_a_dearer_fare_is_never_likelier_bought(market, seed):
    _, p = market
    rng = np.random.default_rng(seed)
    request(p, days=float(rng.uniform(0, 300)), values=rng.normal(size=2) * 10.0)
    theta = rng.normal(size=DIMENSION) * rng.choice([0.1, 1.0, 10.0, 300.0])
    share, utility = situation(p.trunk, theta, p.scratch.input)
    ladder = np.sort(rng.integers(1, 10_000_000, FARES_MAX)).astype(np.int32)
    out = np.zeros(FARES_MAX)
    ladder_probabilities(theta, share, utility, 20_000.0, ladder, FARES_MAX, out)
    assert (np.diff(out) <= 0.0).all() and (out >= 0.0).all() and (out <= 1.0).all()


@pytest.mark.parametrize("ratio", [-0.6, -0.1, 0.0, 0.4, 1.5])
def test_the_gradient_is_the_derivative_of_the_logit(market, ratio):
    arrays, p = market
    request(p)
    theta = arrays["markets.mean"][0] + 0.3 * np.random.default_rng(2).normal(size=DIMENSION)
    slope = np.zeros(DIMENSION)
    pi = logit_gradient(p.trunk, theta, p.scratch.input, ratio, slope)

    def logit(at):
        found = purchase_probability(at, *situation(p.trunk, at, p.scratch.input), ratio)
        return math.log(found / (1.0 - found))

    assert pi == pytest.approx(purchase_probability(theta, *situation(p.trunk, theta, p.scratch.input), ratio))
    for i in range(DIMENSION):
        step = np.zeros(DIMENSION)
        step[i] = 1e-6
        assert slope[i] == pytest.approx((logit(theta + step) - logit(theta - step)) / 2e-6, abs=1e-7)


def test_weekdays_begin_on_monday():
    assert [weekday(day * DAY_MS) for day in range(8)] == [3, 4, 5, 6, 0, 1, 2, 3]  # 1 January 1970: a Thursday


def test_a_feature_without_a_past_counts_once_it_was_seen_often_enough(market):
    arrays, p = market
    j = add_feature(p.features, np.uint64(99))
    assert j == 2 and arrays["fare_features.kind"][j] == WATCHED and find_feature(p.features, np.uint64(99)) == j
    rng = np.random.default_rng(3)
    values = 20_000.0 * np.exp(0.2 * rng.normal(size=WATCH_REQUESTS))
    for value in values:
        assert scaled(p.features, j, float(value), 20_000.0) == 0.0
        given = NOTHING.copy()
        given[j] = value
        observe_request(p, 0, 0, given, NOW_MS)
    assert arrays["fare_features.kind"][j] == LOGARITHM
    z = [scaled(p.features, j, float(value), 20_000.0) for value in values]
    assert np.mean(z) == pytest.approx(0.0, abs=0.02) and np.std(z) == pytest.approx(1.0, abs=0.05)
    assert scaled(p.features, j, 1e12, 20_000.0) == 4.0 and scaled(p.features, j, -1.0, 20_000.0) == 0.0


def test_a_constant_feature_never_gets_a_scale(market):
    arrays, p = market
    j = add_feature(p.features, np.uint64(99))
    given = NOTHING.copy()
    given[j] = 3.0
    for _ in range(2 * WATCH_REQUESTS):
        observe_request(p, 0, 0, given, NOW_MS)
    assert arrays["fare_features.kind"][j] == WATCHED


def test_only_so_many_features_have_a_place(market):
    _, p = market
    places = [add_feature(p.features, np.uint64(key)) for key in range(1, FEATURES_MAX + 3)]
    assert places == [*range(FEATURES_MAX), -1, -1]


def test_a_request_counts_for_its_window_and_is_remembered(market):
    arrays, p = market
    given = NOTHING.copy()
    given[0] = 0.25
    shape = arrays["markets.window_shape"][0].copy()
    observe_request(p, 0, 0, given, NOW_MS)
    w = window_of(30.0)
    assert arrays["markets.window_shape"][0, w] == shape[w] + 1.0
    assert arrays["markets.context"][0, w, 0, 0] == np.float32(0.25)
    assert np.isnan(arrays["markets.context"][0, w, 0, 1])


def test_time_without_requests_counts_as_much_as_requests_do(market):
    arrays, p = market
    observe_request(p, 0, 0, NOTHING, NOW_MS)
    expected = expected_requests(p, 0, 30.0)
    advance_flight(p, 0, NOW_MS + 20 * DAY_MS)
    assert arrays["flights.expected"][0] > 0.0
    assert flight_factor(p, 0) < 1.0 and market_level(p, 0) < 1.0
    assert expected_requests(p, 0, 10.0) < expected / 3.0 * 1.2
    once = arrays["flights.expected"][0]
    advance_flight(p, 0, NOW_MS + 20 * DAY_MS)
    advance_flight(p, 0, NOW_MS + 10 * DAY_MS)  # late news change nothing
    assert arrays["flights.expected"][0] == once


def test_a_busy_flight_is_believed_by_and_by(market):
    arrays, p = market
    observe_request(p, 0, 0, NOTHING, NOW_MS)
    for k in range(100):
        observe_request(p, 0, 0, NOTHING, NOW_MS + k * DAY_MS // 10)
    assert 1.1 < flight_factor(p, 0) < 101 / arrays["flights.expected"][0]


def test_cancellations_are_counted_per_seat_day(market):
    arrays, p = market
    advance_flight(p, 0, NOW_MS)
    arrays["flights.seats_left"][0] = 30
    before = arrays["markets.cancel"][0].copy()
    observe_cancellation(p, 0, 0, NOW_MS + 5 * DAY_MS)
    assert (arrays["markets.cancel"][0] - before).tolist() == pytest.approx([1.0, 20 * 5.0])
    assert cancellations_per_day(p, 0) == pytest.approx((before[0] + 1.0) / (before[1] + 100.0))


def test_a_new_market_begins_from_what_the_others_are(market):
    arrays, p = market
    arrays["markets.mean"][0] += 3.0
    begin_market(p, 1, 15_000.0, 2)
    expected = (2.0 * arrays["pool.mean"][0] + arrays["markets.mean"][0]) / 3.0
    np.testing.assert_allclose(arrays["markets.mean"][1], expected)
    np.testing.assert_array_equal(arrays["markets.precision"][1], arrays["pool.precision"][0])
