"""Each market's own posterior: damped Newton towards the mode, pooled over markets, tempered because history is
confounded.

Fares of the past were chosen by somebody who knew something, so history counts only a share of what it seems to say:
precision = pool + HISTORY_WEIGHT times its Fisher information. Newton's method is damped by halving its steps;
undamped it diverges on thin or lopsided markets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from online.pricing.layout import (
    BASIS,
    DIMENSION,
    FEATURES_MAX,
    FIRST_FEATURE_INPUT,
    LATE_BASIS,
    THETA_BUSINESS,
    THETA_FEATURES,
    THETA_LATE,
    THETA_LEISURE,
    THETA_MIX,
    THETA_STEEP_BUSINESS,
    THETA_STEEP_LEISURE,
    THETA_WEEKDAY,
)
from online.pricing.prior import published_deviation, published_mean

HISTORY_WEIGHT = 0.5
FLOOR_WEIGHT = 0.02  # of the same information: what is never forgotten
POOLING_ROUNDS = 4
PRIOR_MARKETS = 8.0  # how many markets the published spread counts for
NEWTON_STEPS = 30
HALVINGS = 12
SMALLEST = 1e-9


@dataclass(frozen=True, slots=True)
class Pooled:
    """mean [DIMENSION], deviation [DIMENSION] of markets around it; theta, information: of each market."""

    mean: np.ndarray
    deviation: np.ndarray
    theta: np.ndarray  # [m, DIMENSION]
    information: np.ndarray  # [m, DIMENSION, DIMENSION] Fisher's, of the history at theta


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def trunk_outputs(trunk: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """What the hidden layer adds to share and utility, float64 [n, 2]."""
    a = x @ trunk["input"].T + trunk["bias"]
    a = a / (1.0 + np.abs(a))
    return np.stack([a @ trunk["mix"], a @ trunk["utility"]], axis=1)


def probability_and_slope(
    theta: np.ndarray, x: np.ndarray, ratio: np.ndarray, added: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """pi [n] and d logit(pi) / d theta [n, DIMENSION] of requests x [n, INPUTS] at P = ratio [n]."""
    z = x[:, FIRST_FEATURE_INPUT:]
    on_share = THETA_FEATURES + 2 * np.arange(FEATURES_MAX)
    mix = added[:, 0] + theta[THETA_MIX] + x[:, :BASIS] @ theta[THETA_MIX + 1 : THETA_MIX + 1 + BASIS]
    mix = mix + z @ theta[on_share]
    utility = added[:, 1] + theta[THETA_LATE] * x[:, LATE_BASIS] + z @ theta[on_share + 1]
    utility = utility + x[:, BASIS : BASIS + 2] @ theta[THETA_WEEKDAY : THETA_WEEKDAY + 2]
    steep_leisure, steep_business = np.exp(theta[THETA_STEEP_LEISURE]), np.exp(theta[THETA_STEEP_BUSINESS])
    share = sigmoid(mix)
    leisure = sigmoid(theta[THETA_LEISURE] + utility - steep_leisure * ratio)
    business = sigmoid(theta[THETA_BUSINESS] + utility - steep_business * ratio)
    pi = np.clip(share * business + (1.0 - share) * leisure, SMALLEST, 1.0 - SMALLEST)
    variance = pi * (1.0 - pi)
    by_leisure = (1.0 - share) * leisure * (1.0 - leisure) / variance
    by_business = share * business * (1.0 - business) / variance
    by_mix = share * (1.0 - share) * (business - leisure) / variance
    by_utility = by_leisure + by_business
    slope = np.zeros((len(x), DIMENSION))
    slope[:, THETA_LEISURE] = by_leisure
    slope[:, THETA_BUSINESS] = by_business
    slope[:, THETA_STEEP_LEISURE] = -by_leisure * steep_leisure * ratio
    slope[:, THETA_STEEP_BUSINESS] = -by_business * steep_business * ratio
    slope[:, THETA_MIX] = by_mix
    slope[:, THETA_MIX + 1 : THETA_MIX + 1 + BASIS] = by_mix[:, None] * x[:, :BASIS]
    slope[:, THETA_LATE] = by_utility * x[:, LATE_BASIS]
    slope[:, THETA_WEEKDAY : THETA_WEEKDAY + 2] = by_utility[:, None] * x[:, BASIS : BASIS + 2]
    slope[:, on_share] = by_mix[:, None] * z
    slope[:, on_share + 1] = by_utility[:, None] * z
    return pi, slope


def log_posterior(
    theta: np.ndarray, mean: np.ndarray, deviation: np.ndarray, pi: np.ndarray, booked: np.ndarray
) -> float:
    """Up to a constant."""
    likelihood = np.log(np.where(booked > 0.5, pi, 1.0 - pi)).sum()
    return float(likelihood - 0.5 * (((theta - mean) / deviation) ** 2).sum())


def fit_market(
    start: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
    x: np.ndarray,
    ratio: np.ndarray,
    booked: np.ndarray,
    added: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(theta at the mode, Fisher's information of the history there), by damped Gauss-Newton."""
    theta = start.copy()
    pi, slope = probability_and_slope(theta, x, ratio, added)
    height = log_posterior(theta, mean, deviation, pi, booked)
    information = np.zeros((DIMENSION, DIMENSION))
    for _ in range(NEWTON_STEPS):
        information = (slope * (pi * (1.0 - pi))[:, None]).T @ slope
        gradient = slope.T @ (booked - pi) - (theta - mean) / deviation**2
        step = np.linalg.solve(information + np.diag(1.0 / deviation**2), gradient)
        size = 1.0
        for _ in range(HALVINGS):
            tried = theta + size * step
            pi_tried, slope_tried = probability_and_slope(tried, x, ratio, added)
            height_tried = log_posterior(tried, mean, deviation, pi_tried, booked)
            if height_tried > height:
                break
            size *= 0.5
        else:
            break
        gained = height_tried - height
        theta, pi, slope, height = tried, pi_tried, slope_tried, height_tried
        if gained < 1e-6:
            break
    information = (slope * (pi * (1.0 - pi))[:, None]).T @ slope
    return theta, information


def fit_markets(
    market: np.ndarray,
    markets: int,
    x: np.ndarray,
    ratio: np.ndarray,
    booked: np.ndarray,
    trunk: dict[str, np.ndarray],
) -> Pooled:
    """Every market's mode, and the mean and spread of markets that it is drawn to, by turns.

    Starts from the published prior, whose mean counts like one market and whose spread like PRIOR_MARKETS.
    """
    mean, deviation = published_mean(), published_deviation()
    first_mean, first_deviation = mean, deviation
    theta = np.tile(mean, (markets, 1))
    information = np.zeros((markets, DIMENSION, DIMENSION))
    added = trunk_outputs(trunk, x)
    rows = [np.flatnonzero(market == m) for m in range(markets)]
    for _ in range(POOLING_ROUNDS if markets else 0):
        uncertainty = np.zeros((markets, DIMENSION))
        for m, r in enumerate(rows):
            theta[m], information[m] = fit_market(theta[m], mean, deviation, x[r], ratio[r], booked[r], added[r])
            uncertainty[m] = np.diag(np.linalg.inv(information[m] + np.diag(1.0 / deviation**2)))
        # A market that knows nothing of a parameter says nothing of its mean: weights 0 to 1.
        known = 1.0 - np.minimum(uncertainty / deviation**2, 1.0)
        mean = (first_mean + (known * theta).sum(0)) / (1.0 + known.sum(0))
        apart = ((theta - mean) ** 2 + uncertainty).sum(0)
        deviation = np.sqrt((PRIOR_MARKETS * first_deviation**2 + apart) / (PRIOR_MARKETS + markets))
    return Pooled(mean=mean, deviation=deviation, theta=theta, information=information)
