"""The part of the state that belongs to no domain: position, event time, accounting, deduplication.

`received = applied + duplicate + late + rejected` holds after every record; the figures are public.
"""

from typing import Any, NamedTuple

import numpy as np

from online.fifo import fifo_capacity, fifo_columns
from online.settings import Settings
from online.tables import Column

COUNTERS = (
    "received",
    "applied",
    "duplicate",
    "late",
    "rejected",
    "decisions",
    "decisions_of_unknown_users",
    "decisions_repeated",
    "decisions_closed_early",
    "rewards",
    "users_evicted",
    "items_evicted",
    "items_refused",
    "acts",
)
RECEIVED, APPLIED, DUPLICATE, LATE, REJECTED = range(5)
DECISIONS, UNKNOWN_USERS, DECISIONS_REPEATED, CLOSED_EARLY, REWARDS = range(5, 10)
USERS_EVICTED, ITEMS_EVICTED, ITEMS_REFUSED, ACTS = range(10, 14)


class Frame(NamedTuple):
    """position: [1] of the last record folded; watermark_ms: [1], the highest event time; learning: [1], 1 or 0."""

    position: np.ndarray[Any, np.dtype[np.int64]]
    watermark_ms: np.ndarray[Any, np.dtype[np.int64]]
    learning: np.ndarray[Any, np.dtype[np.int64]]
    counters: np.ndarray[Any, np.dtype[np.int64]]  # [len(COUNTERS)]
    monitor: np.ndarray[Any, np.dtype[np.float64]]  # [2]: events tested before learned, sum of their log loss


FRAME_COLUMNS = (
    Column(name="frame.position", dtype="i8", served=True),
    Column(name="frame.watermark_ms", dtype="i8", served=True),
    Column(name="frame.learning", dtype="i8", fill=1, served=True),
    Column(name="frame_counters.counters", dtype="i8", served=True),
    Column(name="frame_monitor.monitor", dtype="f8", served=True),
    *fifo_columns("seen", served=True),
)


def frame_capacity(settings: Settings) -> dict[str, int]:
    """Rows of the frame's tables, all of them fixed."""
    return {
        "frame": 1,
        "frame_counters": len(COUNTERS),
        "frame_monitor": 2,
        **fifo_capacity("seen", settings.event_ids_max),
    }


def frame(arrays: dict[str, np.ndarray[Any, Any]]) -> Frame:
    """The kernels' view of the columns."""
    return Frame(
        position=arrays["frame.position"],
        watermark_ms=arrays["frame.watermark_ms"],
        learning=arrays["frame.learning"],
        counters=arrays["frame_counters.counters"],
        monitor=arrays["frame_monitor.monitor"],
    )
