"""Who asks, and what they would pay: P(purchase) of a request at a fare.

Two latent kinds of traveller, leisure and business, each with a logit; the share of business moves with the days
before departure and with what is known of the request:

    pi(P) = w sigmoid(utility_business - steep_business P) + (1 - w) sigmoid(utility_leisure - steep_leisure P)

Both steepnesses are exponentials, so pi falls in the fare by construction, and its bend between the two logits is
the hinge that one logit lacks: the tail that pays near departure. The batch-trained trunk adds to the share and to the
utilities; theta, the market's own, is what the posterior is about.
"""

import numpy as np
from numba import njit

from online.arithmetic import exp, sigmoid
from online.pricing.features import scaled
from online.pricing.layout import (
    BASIS,
    BASIS_DAYS,
    DAY_MS,
    DIMENSION,
    FEATURES_MAX,
    FIRST_FEATURE_INPUT,
    HIDDEN,
    LATE_BASIS,
    THETA_BUSINESS,
    THETA_FEATURES,
    THETA_LATE,
    THETA_LEISURE,
    THETA_MIX,
    THETA_STEEP_BUSINESS,
    THETA_STEEP_LEISURE,
    THETA_WEEKDAY,
    Pricing,
    Trunk,
)
from online.tables import Array

_DAY = np.array(BASIS_DAYS)
# sin and cos of 2 pi k / 7, written out: a table is exact everywhere.
WEEKDAY_SIN = np.array(
    [0.0, 0.7818314824680298, 0.9749279121818236, 0.4338837391175581]
    + [-0.4338837391175581, -0.9749279121818236, -0.7818314824680298]
)
WEEKDAY_COS = np.array(
    [1.0, 0.6234898018587336, -0.2225209339563144, -0.9009688679024191]
    + [-0.9009688679024191, -0.2225209339563144, 0.6234898018587336]
)
RATIO_MIN, RATIO_MAX = 1e-9, 1.0 - 1e-9  # a probability whose logit is asked for


@njit(cache=True)
def weekday(departs_ms: int) -> int:
    """0 is Monday; 1 January 1970 was a Thursday."""
    return (departs_ms // DAY_MS + 3) % 7


@njit(cache=True)
def days_between(from_ms: int, until_ms: int) -> float:
    """Days, 0 where it is over."""
    return max(0.0, (until_ms - from_ms) / 86_400_000.0)


@njit(cache=True)
def set_input(p: Pricing, market: int, flight: int, days: float) -> None:
    """scratch.input from scratch.raw: what the trunk sees of a request, `days` before departure."""
    x = p.scratch.input
    for b in range(BASIS):
        x[b] = exp(-days / _DAY[b])
    day = weekday(p.flights.departs_ms[flight])
    x[BASIS] = WEEKDAY_SIN[day]
    x[BASIS + 1] = WEEKDAY_COS[day]
    reference = p.markets.reference_cents[market]
    for j in range(FEATURES_MAX):
        x[FIRST_FEATURE_INPUT + j] = scaled(p.features, j, p.scratch.raw[j], reference)


@njit(cache=True)
def trunk_outputs(trunk: Trunk, x: Array) -> tuple[float, float]:
    """What the batch-trained net adds to the share's logit and to the utility. Activation: a / (1 + |a|)."""
    mix = 0.0
    utility = 0.0
    for h in range(HIDDEN):
        a = trunk.bias[h]
        for i in range(x.shape[0]):
            a += trunk.input[h, i] * x[i]
        a = a / (1.0 + abs(a))
        mix += trunk.mix[h] * a
        utility += trunk.utility[h] * a
    return mix, utility


@njit(cache=True)
def situation(trunk: Trunk, theta: Array, x: Array) -> tuple[float, float]:
    """(share of business, what is added to both utilities) of the request in x [INPUTS]."""
    mix, utility = trunk_outputs(trunk, x)
    mix += theta[THETA_MIX]
    for b in range(BASIS):
        mix += theta[THETA_MIX + 1 + b] * x[b]
    utility += theta[THETA_LATE] * x[LATE_BASIS]
    utility += theta[THETA_WEEKDAY] * x[BASIS] + theta[THETA_WEEKDAY + 1] * x[BASIS + 1]
    for j in range(FEATURES_MAX):
        z = x[FIRST_FEATURE_INPUT + j]
        mix += theta[THETA_FEATURES + 2 * j] * z
        utility += theta[THETA_FEATURES + 2 * j + 1] * z
    return sigmoid(mix), utility


@njit(cache=True)
def purchase_probability(theta: Array, share: float, utility: float, ratio: float) -> float:
    """pi at P = ratio, for a situation."""
    leisure = sigmoid(theta[THETA_LEISURE] + utility - exp(theta[THETA_STEEP_LEISURE]) * ratio)
    business = sigmoid(theta[THETA_BUSINESS] + utility - exp(theta[THETA_STEEP_BUSINESS]) * ratio)
    return share * business + (1.0 - share) * leisure


@njit(cache=True)
def ladder_probabilities(
    theta: Array, share: float, utility: float, reference_cents: float, ladder_cents: Array, fares: int, out: Array
) -> None:
    """pi at each rung, into out; the running minimum guards what the equation says already."""
    steep_leisure = exp(theta[THETA_STEEP_LEISURE])
    steep_business = exp(theta[THETA_STEEP_BUSINESS])
    leisure = theta[THETA_LEISURE] + utility
    business = theta[THETA_BUSINESS] + utility
    least = 1.0
    for k in range(fares):
        ratio = ladder_cents[k] / reference_cents - 1.0
        pi = share * sigmoid(business - steep_business * ratio)
        pi += (1.0 - share) * sigmoid(leisure - steep_leisure * ratio)
        least = min(least, pi)
        out[k] = least


@njit(cache=True)
def logit_gradient(trunk: Trunk, theta: Array, x: Array, ratio: float, slope: Array) -> float:
    """pi at P = ratio; d logit(pi) / d theta into slope [DIMENSION]."""
    share, utility = situation(trunk, theta, x)
    steep_leisure = exp(theta[THETA_STEEP_LEISURE])
    steep_business = exp(theta[THETA_STEEP_BUSINESS])
    leisure = sigmoid(theta[THETA_LEISURE] + utility - steep_leisure * ratio)
    business = sigmoid(theta[THETA_BUSINESS] + utility - steep_business * ratio)
    pi = share * business + (1.0 - share) * leisure
    pi = min(max(pi, RATIO_MIN), RATIO_MAX)
    variance = pi * (1.0 - pi)
    by_leisure = (1.0 - share) * leisure * (1.0 - leisure) / variance
    by_business = share * business * (1.0 - business) / variance
    by_mix = share * (1.0 - share) * (business - leisure) / variance
    by_utility = by_leisure + by_business
    slope[THETA_LEISURE] = by_leisure
    slope[THETA_BUSINESS] = by_business
    slope[THETA_STEEP_LEISURE] = -by_leisure * steep_leisure * ratio
    slope[THETA_STEEP_BUSINESS] = -by_business * steep_business * ratio
    slope[THETA_MIX] = by_mix
    for b in range(BASIS):
        slope[THETA_MIX + 1 + b] = by_mix * x[b]
    slope[THETA_LATE] = by_utility * x[LATE_BASIS]
    slope[THETA_WEEKDAY] = by_utility * x[BASIS]
    slope[THETA_WEEKDAY + 1] = by_utility * x[BASIS + 1]
    for j in range(FEATURES_MAX):
        z = x[FIRST_FEATURE_INPUT + j]
        slope[THETA_FEATURES + 2 * j] = by_mix * z
        slope[THETA_FEATURES + 2 * j + 1] = by_utility * z
    return pi


@njit(cache=True)
def set_theta(p: Pricing, market: int) -> None:
    """scratch.theta: the market's mean and today's draw."""
    for i in range(DIMENSION):
        p.scratch.theta[i] = p.markets.mean[market, i] + p.markets.offset[market, i]
