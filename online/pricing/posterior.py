"""What a market's travellers want, as a Gaussian, and how one outcome moves it: an extended Kalman filter (Laplace's
approximation along one direction), full covariance, float64, in a fixed order.

An outcome y at a request whose logit has the gradient g at the mean m: the new mean is m + S g s, where s solves
s = y - sigmoid(logit + g'S g s), the exact mode along S g, so that a wide prior cannot overshoot; then with
h = pi (1 - pi) at the mode, S <- S - h S g (S g)' / (1 + h g'S g) and the precision grows by h g g'. An outcome that
counts less than one whole (`online.pricing.clients`) is its likelihood to that power.

Every day precision above the floor fades (stabilised forgetting), a little in all directions and more in the one in
which markets move: everybody would pay a factor more or less. The covariance is made again from it. Where residuals
leave what chance allows, most of the precision goes at once.
"""

import numpy as np
from numba import njit

from online.arithmetic import exp, log, sigmoid
from online.chance import uniform
from online.pricing.clients import fade_clients
from online.pricing.demand import logit_gradient, set_input
from online.pricing.layout import (
    DAY_MS,
    DIMENSION,
    THETA_BUSINESS,
    THETA_LEISURE,
    THETA_STEEP_BUSINESS,
    THETA_STEEP_LEISURE,
    WINDOWS,
    Pricing,
)
from online.tables import Array

MODE_STEPS = 64  # of Newton's method on a line; mostly it stands still after four or five
DAYS_MAX = 4_000  # a longer pause forgets no more


@njit(cache=True)
def cholesky(matrix: Array, factor: Array) -> bool:
    """Lower triangle with factor factor' = matrix [n, n]. False, and factor of no use, where it is not positive."""
    n = matrix.shape[0]
    for i in range(n):
        for j in range(i + 1):
            s = matrix[i, j]
            for k in range(j):
                s -= factor[i, k] * factor[j, k]
            if i == j:
                if not s > 0.0:
                    return False
                factor[i, i] = np.sqrt(s)
            else:
                factor[i, j] = s / factor[j, j]
        for j in range(i + 1, n):
            factor[i, j] = 0.0
    return True


@njit(cache=True)
def invert(matrix: Array, factor: Array, inverse: Array, out: Array) -> bool:
    """out = matrix^-1 by Cholesky; factor keeps the triangle, inverse the triangle's inverse."""
    if not cholesky(matrix, factor):
        return False
    n = matrix.shape[0]
    for j in range(n):
        for i in range(n):
            if i < j:
                inverse[i, j] = 0.0
            elif i == j:
                inverse[i, i] = 1.0 / factor[i, i]
            else:
                s = 0.0
                for k in range(j, i):
                    s -= factor[i, k] * inverse[k, j]
                inverse[i, j] = s / factor[i, i]
    for i in range(n):
        for j in range(i + 1):
            s = 0.0
            for k in range(i, n):
                s += inverse[k, i] * inverse[k, j]
            out[i, j] = s
            out[j, i] = s
    return True


@njit(cache=True)
def mode(logit: float, variance: float, outcome: float) -> tuple[float, float]:
    """(s, pi at the mode) with s = outcome - sigmoid(logit + variance s): Newton's method inside a bracket."""
    low = outcome - 1.0
    high = outcome
    s = 0.5 * (low + high) if variance > 4.0 else 0.0
    s = min(max(s, low), high)
    pi = sigmoid(logit + variance * s)
    for _ in range(MODE_STEPS):
        above = s - outcome + pi
        if above > 0.0:
            high = s
        else:
            low = s
        step = s - above / (1.0 + variance * pi * (1.0 - pi))
        step = step if low < step < high else 0.5 * (low + high)
        if step == s:
            break
        s = step
        pi = sigmoid(logit + variance * s)
    return s, pi


@njit(cache=True)
def update(
    mean: Array,
    covariance: Array,
    precision: Array,
    slope: Array,
    spread: Array,
    pi: float,
    booked: float,
    counts: float = 1.0,
) -> None:
    """Fold one outcome (1 booked, 0 not) into a posterior, in place; pi and slope are the model's at the mean.

    counts: in (0, 1], the power of its likelihood.
    """
    n = mean.shape[0]
    variance = 0.0
    for i in range(n):
        s = 0.0
        for j in range(n):
            s += covariance[i, j] * slope[j]
        spread[i] = s
        variance += slope[i] * s
    logit = log(pi / (1.0 - pi))
    move, at_mode = mode(logit, variance * counts, booked)
    weight = counts * (at_mode * (1.0 - at_mode))
    shrink = weight / (1.0 + weight * variance)
    for i in range(n):
        mean[i] += spread[i] * (counts * move)
        for j in range(n):
            covariance[i, j] -= shrink * (spread[i] * spread[j])
            precision[i, j] += weight * (slope[i] * slope[j])


@njit(cache=True)
def observe_outcome(
    p: Pricing, market: int, flight: int, days: float, fare_cents: float, booked: float, counts: float = 1.0
) -> float:
    """Learn from what became of a fare that was shown; scratch.raw holds what was known of the request.

    days: before departure when it was asked for. fare_cents: as shown, after all rules. counts: of it, in (0, 1].
    P(booked) as the model had it.
    """
    m = p.markets
    set_input(p, market, flight, days)
    ratio = fare_cents / m.reference_cents[market] - 1.0
    pi = logit_gradient(p.trunk, m.mean[market], p.scratch.input, ratio, p.scratch.slope)
    drift = m.drift[market]
    drift[0] += counts * (booked - pi)
    drift[1] += counts * (pi * (1.0 - pi))
    drift[2] += counts
    seen = m.dispersion[market]
    weight = counts * (pi * (1.0 - pi))
    seen[0] += weight
    apart = ratio - seen[1]
    seen[1] += apart * weight / seen[0]
    seen[2] += weight * apart * (ratio - seen[1])
    seen[3] += counts
    update(
        m.mean[market],
        m.covariance[market],
        m.precision[market],
        p.scratch.slope,
        p.scratch.spread,
        pi,
        booked,
        counts,
    )
    result: float = pi
    return result


@njit(cache=True)
def observe_booked_after_all(
    p: Pricing, market: int, flight: int, days: float, fare_cents: float, counts: float
) -> None:
    """What was learned as a "no" was a "yes"; arguments as of observe_outcome, `counts` what the "no" counted.

    The likelihood pi / (1 - pi) of the one over the other is e to the logit, and the logit is a line along its
    gradient g: the Gaussian's mean moves by S g, and it is as sure as before.
    """
    m = p.markets
    set_input(p, market, flight, days)
    ratio = fare_cents / m.reference_cents[market] - 1.0
    slope = p.scratch.slope
    logit_gradient(p.trunk, m.mean[market], p.scratch.input, ratio, slope)
    m.drift[market, 0] += counts
    for i in range(DIMENSION):
        s = 0.0
        for j in range(DIMENSION):
            s += m.covariance[market, i, j] * slope[j]
        p.scratch.spread[i] = s
    for i in range(DIMENSION):
        m.mean[market, i] += counts * p.scratch.spread[i]


@njit(cache=True)
def fade(precision: Array, floor: Array, keep: float) -> None:
    """Forget towards the floor, never below it."""
    n = precision.shape[0]
    for i in range(n):
        for j in range(n):
            precision[i, j] = keep * precision[i, j] + (1.0 - keep) * floor[i, j]


@njit(cache=True)
def loosen(precision: Array, floor: Array, way: Array, spread: Array, variance: float) -> None:
    """Let theta have moved by `way` times a number of this variance; precision above the floor pays for it, and stays
    positive: with E = precision - floor, E <- E - v E way (E way)' / (1 + v way'E way)."""
    n = precision.shape[0]
    total = 0.0
    for i in range(n):
        s = 0.0
        for j in range(n):
            s += (precision[i, j] - floor[i, j]) * way[j]
        spread[i] = s
        total += way[i] * s
    shrink = variance / (1.0 + variance * max(total, 0.0))
    for i in range(n):
        for j in range(n):
            precision[i, j] -= shrink * (spread[i] * spread[j])


@njit(cache=True)
def set_way(mean: Array, way: Array) -> None:
    """d theta of everybody paying a little more, relatively: a fare p then weighs as p less that share."""
    for i in range(way.shape[0]):
        way[i] = 0.0
    way[THETA_LEISURE] = exp(mean[THETA_STEEP_LEISURE])
    way[THETA_BUSINESS] = exp(mean[THETA_STEEP_BUSINESS])
    way[THETA_STEEP_LEISURE] = -1.0
    way[THETA_STEEP_BUSINESS] = -1.0


@njit(cache=True)
def remake(p: Pricing, market: int) -> None:
    """The covariance from the precision; scratch.inverse keeps the inverse of its triangle."""
    m = p.markets
    if not invert(m.precision[market], p.scratch.factor, p.scratch.inverse, m.covariance[market]):
        # Rounding took the last bit of what was hardly positive: begin again from the floor.
        for i in range(DIMENSION):
            for j in range(DIMENSION):
                m.precision[market, i, j] = m.floor[market, i, j]
        invert(m.precision[market], p.scratch.factor, p.scratch.inverse, m.covariance[market])


@njit(cache=True)
def draw(p: Pricing, market: int, key: np.uint64, seed: np.uint64, day: int) -> None:
    """Today's stray from the mean: exploration times a draw of the posterior, the same for all quotes of the day."""
    m = p.markets
    for i in range(DIMENSION):
        m.offset[market, i] = 0.0
    if p.knobs.exploration <= 0.0:
        return
    for i in range(DIMENSION):
        # Twelve uniforms, less six: mean 0, variance 1, never beyond six.
        z = -6.0
        for k in range(12):
            z += uniform(key ^ seed, np.uint64(day), 12 * i + k)
        # The precision is F F'; F'^-1 z has its inverse as covariance.
        for j in range(i + 1):
            m.offset[market, j] += p.knobs.exploration * z * p.scratch.inverse[i, j]


@njit(cache=True)
def roll_market(p: Pricing, market: int, key: np.uint64, seed: np.uint64, at_ms: int) -> bool:
    """Begin a new day of a market, if it is one: forget, look for a break, draw. True where it broke away.

    key: of the market's id; seed: the log's.
    """
    m = p.markets
    day = at_ms // DAY_MS
    if m.day[market] < 0:
        m.day[market] = day
        remake(p, market)
        draw(p, market, key, seed, day)
        return False
    passed = min(day - m.day[market], DAYS_MAX)
    if passed <= 0:
        return False
    m.day[market] = day
    k = p.knobs
    drift = m.drift[market]
    broke = drift[2] >= k.drift_outcomes and drift[0] * drift[0] > k.drift_threshold * k.drift_threshold * drift[1]
    keep = 1.0
    for _ in range(passed):
        keep *= k.keep_per_day
        drift[0] *= k.drift_level_decay
        drift[1] *= k.drift_level_decay * k.drift_level_decay
        drift[2] *= k.drift_level_decay
        m.level[market, 0] *= k.level_keep_per_day
        m.level[market, 1] *= k.level_keep_per_day
        if m.cancel[market, 1] > p.pool.cancel[0, 1]:
            m.cancel[market, 0] *= k.cancel_keep_per_day
            m.cancel[market, 1] *= k.cancel_keep_per_day
        for w in range(WINDOWS):
            if m.window_shape[market, w] > m.window_prior[market, w]:
                m.window_shape[market, w] *= k.window_keep_per_day
                m.window_rate[market, w] *= k.window_keep_per_day
        for i in range(4):
            if i != 1:
                m.dispersion[market, i] *= k.keep_per_day
    fade_clients(p, market, keep)
    if broke:
        keep *= k.drift_keep
        drift[0] = drift[1] = drift[2] = 0.0
        drift[3] += 1.0
    fade(m.precision[market], m.floor[market], keep)
    set_way(m.mean[market], p.scratch.slope)
    moved = k.drift_per_day * k.drift_per_day * passed
    loosen(m.precision[market], m.floor[market], p.scratch.slope, p.scratch.spread, moved)
    remake(p, market)
    draw(p, market, key, seed, day)
    result: bool = broke
    return result
