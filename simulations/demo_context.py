"""What the stages of a demo share: its settings, its folders, and what one stage hands on to the next."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from simulations.history import History
from simulations.results import Results
from simulations.terminal import Screen
from simulations.video_settings import WorldSettings

HISTORY_DAYS: Final = 12
MINUTES: Final = 1.5
PRETRAIN_MINUTES: Final = 0.75  # a demo shorter than the default trains shorter, too
CHAMPION_SHARE: Final = 0.3
HELD_OUT_SHARE: Final = 0.15
HELD_OUT_VISITS: Final = 900
ATTRIBUTION_WINDOW_S: Final = 2 * 3600  # most of an evening; what comes later is learned with less weight
RATE: Final = 80.0
RATE_AFTERWARDS: Final = 10.0

T = TypeVar("T")


class DemoFailed(Exception):
    """The demo cannot go on; says what to do."""


@dataclass
class Demo:
    """What the stages hand on to each other."""

    folder: Path  # everything of the demo's own: history, artifact, measurements, report
    home: Path  # the service's
    world: WorldSettings
    minutes: float
    port: int
    rate: float
    screen: Screen
    results: Results
    run: str = field(default_factory=lambda: secrets.token_hex(3))  # event ids of two runs differ
    history: History | None = None
    artifact: Path | None = None
    pricing_artifact: Path | None = None
    url: str = ""
    log_url: str = ""


def made(thing: T | None) -> T:
    """What an earlier stage has made."""
    if thing is None:
        raise AssertionError("the stages run in their order")
    return thing
