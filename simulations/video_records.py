"""Titles, visits and feedback of a video world, and the names that they go by over HTTP."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from simulations.video_settings import DAY_MS, HOUR_BANDS, HOUR_MS, STEEPNESS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Title:
    title: int
    title_id: str
    name: str
    genre: str
    minutes: float
    released_at_ms: int


@dataclass(frozen=True, slots=True)
class Visit:
    """A viewer opens the service. `number` counts the viewer's visits of that day from 0."""

    viewer: int
    at_ms: int
    device: str
    day: int
    number: int

    @property
    def hour_band(self) -> str:
        return hour_band(self.at_ms)


@dataclass(frozen=True, slots=True)
class Feedback:
    """What one viewer did with one title. `arrives_at_ms` is None where the report is lost on the way."""

    event_type: str  # watch, like, dislike, skip
    title: int
    position: int | None  # from 1; None: found without the slate
    value: float | None  # the watched share, for watch
    occurred_at_ms: int
    arrives_at_ms: int | None


def hour_band(at_ms: int) -> str:
    return HOUR_BANDS[(at_ms % DAY_MS) // (6 * HOUR_MS)]


def examination(device: str, n: int) -> Floats:
    """P(a viewer looks at position k), k = 1..n: the position-based model, Richardson et al. 2007. [n]"""
    return np.arange(1, n + 1, dtype=np.float64) ** -STEEPNESS[device]


def title_id(title: int) -> str:
    return f"t{title:05d}"


def viewer_id(viewer: int) -> str:
    return f"v{viewer:05d}"


def positions_of(titles: Sequence[int] | Ints, watched: Collection[int]) -> list[int]:
    """Where in `titles` those stand that were watched, from 0."""
    return [row for row, title in enumerate(titles) if title in watched]


def rfc3339(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms // 1_000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03d}Z"
