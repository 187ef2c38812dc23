"""What is known of a market before its first request: published estimates of other people's flights, and how far apart
routes lie.

Williams (2022), "The Welfare Effects of Dynamic Pricing: Evidence from Airline Markets", Econometrica 90(2), estimates
per US route a logit for leisure and one for business travellers, the share of business by days before departure, and
arrivals per day. Below are centres and spreads over those routes, turned into this model's units: fares relative to the
geometric middle of the ladder, the share's path as decays of the days before departure.
"""

import numpy as np

from online.pricing.layout import (
    DIMENSION,
    FEATURES_MAX,
    THETA_BUSINESS,
    THETA_FEATURES,
    THETA_LATE,
    THETA_LEISURE,
    THETA_MIX,
    THETA_STEEP_BUSINESS,
    THETA_STEEP_LEISURE,
    THETA_WEEKDAY,
    WINDOW_DAYS,
    WINDOWS,
)
from online.tables import Array

# (centre, spread over routes)
UTILITY = {THETA_LEISURE: (-1.2, 1.3), THETA_BUSINESS: (2.2, 1.5)}
STEEPNESS = {THETA_STEEP_LEISURE: (1.95, 0.45), THETA_STEEP_BUSINESS: (1.2, 0.5)}
# 3 % business at 60 days, 22 % at 20, 87 % at 1.
SHARE = ((-4.9, 1.0), (0.8, 1.0), (1.15, 1.2), (5.2, 1.2))
LATE_SPREAD = 0.3
WEEKDAY_SPREAD = 0.3
FEATURE_SHARE_SPREAD = 0.7  # of one standard deviation of a feature, on the logit of the share
FEATURE_UTILITY_SPREAD = 0.5
# Requests per day by days before departure: up to 7, up to 14, up to 21, before.
ARRIVALS = ((7.0, 1.07), (14.0, 1.08), (21.0, 1.42), (1e9, 1.34))
ARRIVALS_SHAPE = 2.0  # of the Gamma around each: a spread of 70 %
CANCELLATIONS = (0.5, 500.0)  # of so many seat-days


def published_mean() -> Array:
    """The centre of theta, f8 [DIMENSION]."""
    mean = np.zeros(DIMENSION)
    for place, (centre, _) in {**UTILITY, **STEEPNESS}.items():
        mean[place] = centre
    for b, (centre, _) in enumerate(SHARE):
        mean[THETA_MIX + b] = centre
    return mean


def published_deviation() -> Array:
    """How far theta lies from its centre, f8 [DIMENSION]."""
    deviation = np.ones(DIMENSION)
    for place, (_, spread) in {**UTILITY, **STEEPNESS}.items():
        deviation[place] = spread
    for b, (_, spread) in enumerate(SHARE):
        deviation[THETA_MIX + b] = spread
    deviation[THETA_LATE] = LATE_SPREAD
    deviation[THETA_WEEKDAY : THETA_WEEKDAY + 2] = WEEKDAY_SPREAD
    for j in range(FEATURES_MAX):
        deviation[THETA_FEATURES + 2 * j] = FEATURE_SHARE_SPREAD
        deviation[THETA_FEATURES + 2 * j + 1] = FEATURE_UTILITY_SPREAD
    return deviation


def published_precision() -> Array:
    """The prior's precision, f8 [DIMENSION, DIMENSION]."""
    deviation = published_deviation()
    return np.diag(1.0 / (deviation * deviation))


def published_windows() -> tuple[Array, Array]:
    """(requests, flight-days) of the Gamma prior of each window, f8 [WINDOWS] each."""
    rate = np.zeros(WINDOWS)
    for w, begins in enumerate(WINDOW_DAYS):
        per_day = next(value for until, value in ARRIVALS if begins < until)
        rate[w] = ARRIVALS_SHAPE / per_day
    return np.full(WINDOWS, ARRIVALS_SHAPE), rate
