"""The settings of a video world, and what every such world has: genres, devices, hours of the day."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
MINUTE_MS: Final = 60_000

# name, half-life of a title's hype in hours, usual length in minutes, share of the catalogue
GENRES: Final = (
    ("news", 10.0, 12.0, 0.16),
    ("sport", 18.0, 45.0, 0.14),
    ("talk", 36.0, 40.0, 0.12),
    ("series", 72.0, 42.0, 0.20),
    ("music", 120.0, 6.0, 0.10),
    ("film", 336.0, 105.0, 0.12),
    ("documentary", 336.0, 52.0, 0.08),
    ("kids", 500.0, 14.0, 0.08),
)
DEVICES: Final = ("phone", "tv", "web")
HOUR_BANDS: Final = ("night", "morning", "afternoon", "evening")  # 0-6, 6-12, 12-18, 18-24 UTC

# How fast attention falls with the position: a phone shows two titles at a time, a television a whole row.
STEEPNESS: Final = {"phone": 0.9, "tv": 0.5, "web": 0.7}
VISITS_PER_DAY_MAX: Final = 8


class Draws(IntEnum):
    """What a stream of draws is about: the first word of its counter."""

    VIEWERS = 0
    TITLES = 1
    TASTES = 2
    TIDES = 3
    REVIVALS = 4
    VISITS = 5
    RESPONSES = 6
    CONTEXT = 7
    LOGGING = 8
    HELD_OUT = 9
    SHARES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldSettings:
    """Everything that makes one world. Raises ValueError where a number makes no sense.

    The defaults describe a small catch-up service: 400 titles and two dozen new ones a day (short-video
    sites turn over faster, film libraries slower), viewers who come 1.5 times a day.
    """

    seed: int = 7
    drift: float = 1.0
    starts_at_ms: int = 1_736_121_600_000  # Monday 2025-01-06, 00:00 UTC
    viewers: int = 2_500
    viewers_per_day: int = 75
    titles: int = 400
    titles_per_day: int = 24
    visits_per_day: float = 1.5
    base_logit: float = -3.1  # a title without any appeal is started by 4 in 100 who see it
    match_scale: float = 2.6
    hype_scale: float = 1.6
    tide_scale: float = 0.4
    context_scale: float = 0.7
    moving_share: float = 0.4  # of a taste's variance, the part that drifts
    taste_period_days: float = 4.0
    tide_period_days: float = 2.0
    revivals_per_day: float = 0.003  # share of titles
    organic_share: float = 0.5  # of visits also find a title without the slate: search, friends, the press
    rewatch_share: float = 0.1  # of the reward that is left in a title already watched
    late_share: float = 0.10  # feedback that comes hours late (a phone without a network)
    lost_share: float = 0.05  # feedback that never comes

    def __post_init__(self) -> None:
        if self.drift < 0.0:
            raise ValueError(f"drift must not be negative, got {self.drift}")
        if self.viewers < 1 or self.titles < 1:
            raise ValueError(f"a world needs viewers and titles, got {self.viewers} and {self.titles}")
        for name in ("moving_share", "organic_share", "rewatch_share", "late_share", "lost_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share and must be in [0, 1], got {getattr(self, name)}")
