"""What may be set about pricing. Times are event time; shares and rates say per what.

The defaults were chosen on other routes and seeds of `simulations/airline_market.py` than its figures are reported on.
They travel in the log's first record with all other settings, so a replay needs no environment.
"""

from typing import NamedTuple

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hyperparameters of the pricing kernels. Units stand in the names."""

    exploration: float = 0.1  # standard deviations of the posterior that a market-day's draw strays; 0 is greedy
    keep_per_day: float = 0.99  # of a posterior's precision above its floor, from one day to the next
    drift_per_day: float = 0.015  # relative change of what everybody would pay that a day may bring
    drift_level_decay: float = 0.97  # of the drift statistic, per day
    drift_threshold: float = 4.0  # standard deviations that call a market broken away
    drift_outcomes: float = 60.0  # outcomes that the statistic must stand on
    drift_keep: float = 0.1  # of the precision above the floor, after a break
    level_prior_requests: float = 50.0  # requests that a market's level of arrivals is worth before any came
    level_keep_per_day: float = 0.95
    window_keep_per_day: float = 0.99  # of what the arrivals of a window weigh above their prior
    flight_prior_requests: float = 20.0  # how many requests a flight must show to be believed half
    cancel_keep_per_day: float = 0.995
    dispersion: float = 0.05  # least information about the fare's slope, times the root of outcomes
    dispersion_distance: float = 0.05  # of the mean fare, over the fourth root of outcomes
    dispersion_regret: float = 0.003  # of the expected gain that a forced step may cost


class Knobs(NamedTuple):
    """The settings as the kernels take them."""

    exploration: float
    keep_per_day: float
    drift_per_day: float
    drift_level_decay: float
    drift_threshold: float
    drift_outcomes: float
    drift_keep: float
    level_prior_requests: float
    level_keep_per_day: float
    window_keep_per_day: float
    flight_prior_requests: float
    cancel_keep_per_day: float
    dispersion: float
    dispersion_distance: float
    dispersion_regret: float


def knobs(settings: Settings) -> Knobs:
    """Settings for the kernels.

    >>> knobs(Settings()).flight_prior_requests
    20.0
    """
    return Knobs(**{name: float(getattr(settings, name)) for name in Knobs._fields})
