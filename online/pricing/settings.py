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
    client_free_bookings: float = 4.0  # expected of a client's quotes before they are held against those that it keeps
    client_doubt: float = 2.0  # times as many as it keeps, measured by others, may be expected of one that counts whole
    dispersion: float = 0.05  # least information about the fare's slope, times the root of outcomes
    dispersion_distance: float = 0.05  # of the mean fare, over the fourth root of outcomes
    dispersion_regret: float = 0.003  # of the expected gain that a forced step may cost

    # Quotes and seats, see `online.pricing.fold`.
    quote_ttl_s: int = 900  # a fare is honoured for this long; silence until then is a "no"
    hold_max_s: int = 86_400
    repeat_window_s: int = 60  # the same question again so soon, the first one unanswered, is the same traveller
    table_days_max: float = 3.0  # of event time since a flight was solved; beyond it the fluid bound prices a seat
    solve_outcomes: int = 50  # of a market since then; so many make a flight's table due before its day is over
    solve_pause_s: int = 60  # of event time at least between two tables that are due for that reason
    solves_per_tick: int = 32  # flights that a record of an idle learner solves
    flights_max: int = 65_536
    markets_max: int = 1_024
    quotes_max: int = 16_384  # newest quotes, which outcomes are matched with; silence longer than that teaches nothing
    claims_max: int = 4_194_304  # seats held, booked or cancelled of the flights that are known

    def __post_init__(self) -> None:
        for name, low, high in (
            ("exploration", 0.0, 10.0),
            ("client_free_bookings", 1.0, 1e12),
            ("client_doubt", 1.0, 1e6),
            ("quote_ttl_s", 1, 30 * 86_400),
            ("hold_max_s", 1, 366 * 86_400),
            ("repeat_window_s", 0, 86_400),
            ("table_days_max", 0.0, 366.0),
            ("solve_outcomes", 1, 1 << 30),
            ("solve_pause_s", 0, 86_400),
            ("solves_per_tick", 1, 10_000),
            ("flights_max", 16, 1 << 24),
            ("markets_max", 1, 1 << 16),
            ("quotes_max", 16, 1 << 26),
            ("claims_max", 64, 1 << 30),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"pricing.{name} must be in [{low}, {high}], got {value}")


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
    client_free_bookings: float
    client_doubt: float
    dispersion: float
    dispersion_distance: float
    dispersion_regret: float


def knobs(settings: Settings) -> Knobs:
    """Settings for the kernels.

    >>> knobs(Settings()).flight_prior_requests
    20.0
    """
    return Knobs(**{name: float(getattr(settings, name)) for name in Knobs._fields})
