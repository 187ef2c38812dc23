"""A market's posterior: an extended Kalman filter in a fixed order, forgetting that keeps a floor, honest draws."""

import numpy as np
import pytest

from online.pricing.arrays import begin_flight, begin_market, begin_pool, pricing_capacity, pricing_views
from online.pricing.demand import logit_gradient, set_input
from online.pricing.features import add_feature, overlay
from online.pricing.layout import DAY_MS, DIMENSION, FARES_MAX, FEATURES_MAX, LINEAR, PRICING_COLUMNS
from online.pricing.posterior import cholesky, invert, loosen, mode, observe_outcome, roll_market, set_way
from online.pricing.settings import Settings
from online.tables import allocate

NOW_MS = 1_800_000_000_000
KEY, SEED = np.uint64(5), np.uint64(7)


def one_market(**changes):
    arrays = allocate(PRICING_COLUMNS, {**pricing_capacity(), "markets": 2, "flights": 2})
    begin_pool(arrays)
    p = pricing_views(arrays, Settings(**changes))
    for key in (1, 2):
        j = add_feature(p.features, np.uint64(key))
        p.features.kind[j] = LINEAR
    begin_market(p, 0, 20_000.0, 1)
    roll_market(p, 0, KEY, SEED, NOW_MS)
    begin_flight(p, 0, 0, NOW_MS + 60 * DAY_MS, 50, 50, np.zeros(FARES_MAX, np.int32), 0)
    return arrays, p


def outcomes(n, seed=1):
    rng = np.random.default_rng(seed)
    for _ in range(n):
        given = np.full(FEATURES_MAX, np.nan)
        given[:2] = rng.normal(size=2)
        yield given, float(rng.uniform(0.0, 60.0)), float(rng.uniform(12_000, 34_000)), float(rng.random() < 0.4)


def learn(p, n, seed=1):
    for given, days, fare, booked in outcomes(n, seed):
        overlay(p, 0, given)
        observe_outcome(p, 0, 0, days, fare, booked)


def reference_step(mean, covariance, precision, slope, pi, booked):
    """The same filter with library algebra: the mode along S g by bisection, then the rank-1 forms."""
    spread = covariance @ slope
    variance = slope @ spread
    logit = np.log(pi / (1.0 - pi))
    low, high = booked - 1.0, booked
    for _ in range(200):
        s = 0.5 * (low + high)
        if s - booked + 1.0 / (1.0 + np.exp(-(logit + variance * s))) > 0.0:
            high = s
        else:
            low = s
    at_mode = 1.0 / (1.0 + np.exp(-(logit + variance * s)))
    h = at_mode * (1.0 - at_mode)
    mean = mean + spread * s
    covariance = covariance - h * np.outer(spread, spread) / (1.0 + h * variance)
    return mean, covariance, precision + h * np.outer(slope, slope)


def test_outcomes_are_learned_as_a_reference_filter_learns_them():
    arrays, p = one_market()
    mean, covariance, precision = (arrays[f"markets.{n}"][0].copy() for n in ("mean", "covariance", "precision"))
    for given, days, fare, booked in outcomes(300):
        overlay(p, 0, given)
        set_input(p, 0, 0, days)
        slope = np.zeros(DIMENSION)
        pi = logit_gradient(p.trunk, mean, p.scratch.input, fare / 20_000.0 - 1.0, slope)
        mean, covariance, precision = reference_step(mean, covariance, precision, slope, pi, booked)
        observe_outcome(p, 0, 0, days, fare, booked)
    np.testing.assert_allclose(arrays["markets.mean"][0], mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(arrays["markets.covariance"][0], covariance, rtol=0, atol=1e-10)
    np.testing.assert_allclose(arrays["markets.precision"][0], precision, rtol=1e-10, atol=1e-10)


def test_covariance_stays_the_inverse_of_the_precision():
    arrays, p = one_market()
    learn(p, 500)
    product = arrays["markets.covariance"][0] @ arrays["markets.precision"][0]
    np.testing.assert_allclose(product, np.eye(DIMENSION), atol=1e-8)


@pytest.mark.parametrize("variance", [1e-6, 0.3, 4.0, 50.0, 1e4])
@pytest.mark.parametrize("logit", [-12.0, -1.0, 0.0, 3.0, 20.0])
@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_the_mode_on_a_line_solves_its_equation(logit, variance, outcome):
    s, pi = mode(logit, variance, outcome)
    assert outcome - 1.0 <= s <= outcome
    assert s - outcome + pi == pytest.approx(0.0, abs=1e-9)


def test_one_surprise_does_not_overshoot_a_wide_prior():
    arrays, p = one_market()
    arrays["markets.precision"][0] = np.eye(DIMENSION) * 1e-3
    arrays["markets.covariance"][0] = np.eye(DIMENSION) * 1e3
    overlay(p, 0, np.full(FEATURES_MAX, np.nan))
    set_input(p, 0, 0, 20.0)
    before = logit_gradient(p.trunk, arrays["markets.mean"][0], p.scratch.input, 0.5, np.zeros(DIMENSION))
    observe_outcome(p, 0, 0, 20.0, 30_000.0, 1.0)
    after = logit_gradient(p.trunk, arrays["markets.mean"][0], p.scratch.input, 0.5, np.zeros(DIMENSION))
    assert before < after < 1.0
    assert np.isfinite(arrays["markets.mean"][0]).all()


def test_forgetting_never_goes_below_the_floor():
    arrays, p = one_market(drift_per_day=0.05, keep_per_day=0.9)
    at_ms = NOW_MS
    for day in range(30):
        learn(p, 20, seed=day)
        at_ms += DAY_MS * (1 if day % 5 else 40)
        roll_market(p, 0, KEY, SEED, at_ms)
        above = arrays["markets.precision"][0] - arrays["markets.floor"][0]
        assert np.linalg.eigvalsh(above).min() > -1e-9
        product = arrays["markets.covariance"][0] @ arrays["markets.precision"][0]
        np.testing.assert_allclose(product, np.eye(DIMENSION), atol=1e-8)


def test_a_long_silence_leaves_the_floor_and_the_mean():
    arrays, p = one_market()
    learn(p, 200)
    mean = arrays["markets.mean"][0].copy()
    roll_market(p, 0, KEY, SEED, NOW_MS + 3_000 * DAY_MS)
    np.testing.assert_allclose(arrays["markets.precision"][0], arrays["markets.floor"][0], rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(arrays["markets.mean"][0], mean)


def test_drift_loosens_the_direction_in_which_everybody_pays_more_and_no_other():
    rng = np.random.default_rng(3)
    floor = np.eye(DIMENSION)
    root = rng.normal(size=(DIMENSION, DIMENSION))
    precision = floor + root @ root.T
    way, spread = np.zeros(DIMENSION), np.zeros(DIMENSION)
    set_way(rng.normal(size=DIMENSION), way)
    loosened = precision.copy()
    loosen(loosened, floor, way, spread, 0.01)
    expected = np.linalg.inv(np.linalg.inv(precision - floor) + 0.01 * np.outer(way, way)) + floor
    np.testing.assert_allclose(loosened, expected, rtol=1e-8)


def test_a_market_that_breaks_away_forgets_at_once():
    arrays, p = one_market(drift_per_day=0.0)
    learn(p, 400)
    before = np.trace(arrays["markets.precision"][0])
    overlay(p, 0, np.full(FEATURES_MAX, np.nan))
    arrays["markets.drift"][0] = [40.0, 20.0, 150.0, 0.0]
    assert roll_market(p, 0, KEY, SEED, NOW_MS + DAY_MS)
    assert np.trace(arrays["markets.precision"][0]) < 0.5 * before
    assert arrays["markets.drift"][0].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert not roll_market(p, 0, KEY, SEED, NOW_MS + 2 * DAY_MS)


def test_a_day_has_one_draw_and_the_next_another():
    arrays, p = one_market(exploration=0.5)
    first = arrays["markets.offset"][0].copy()
    assert np.abs(first).max() > 0.0
    assert not roll_market(p, 0, KEY, SEED, NOW_MS + 1)
    np.testing.assert_array_equal(arrays["markets.offset"][0], first)
    roll_market(p, 0, KEY, SEED, NOW_MS + DAY_MS)
    assert (arrays["markets.offset"][0] != first).any()
    again, q = one_market(exploration=0.5)
    roll_market(q, 0, KEY, SEED, NOW_MS + DAY_MS)
    np.testing.assert_array_equal(again["markets.offset"][0], arrays["markets.offset"][0])


def test_without_exploration_nothing_strays():
    arrays, _ = one_market(exploration=0.0)
    assert not arrays["markets.offset"].any()


def test_draws_have_the_posteriors_spread():
    arrays, p = one_market(exploration=1.0)
    learn(p, 200)
    draws = []
    for day in range(1, 1_501):
        arrays["markets.day"][0] = NOW_MS // DAY_MS + day - 1
        held = arrays["markets.precision"][0].copy()
        roll_market(p, 0, KEY, SEED, NOW_MS + day * DAY_MS)
        draws.append(arrays["markets.offset"][0].copy())
        arrays["markets.precision"][0] = held
    spread = np.std(draws, axis=0)  # 1,500 draws: within 8 % of the truth with a margin of four deviations
    np.testing.assert_allclose(spread, np.sqrt(np.diag(np.linalg.inv(held))), rtol=0.12)


def test_cholesky_and_inverse_agree_with_the_library():
    rng = np.random.default_rng(5)
    root = rng.normal(size=(DIMENSION, DIMENSION))
    matrix = root @ root.T + np.eye(DIMENSION)
    factor, inverse, out = (np.zeros((DIMENSION, DIMENSION)) for _ in range(3))
    assert invert(matrix, factor, inverse, out)
    np.testing.assert_allclose(factor, np.linalg.cholesky(matrix), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(out, np.linalg.inv(matrix), rtol=1e-9, atol=1e-12)
    assert not cholesky(-matrix, factor)
