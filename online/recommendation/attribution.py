"""Which outcome belongs to which decision: pending slates, and the window in which feedback still counts.

A decided slate is remembered until its attribution window closes in event time. Each of its positions can earn one
reward, the first one that comes; when the window closes, silence becomes reward 0 and the slate is learned as a
whole. A slate falls out early only where more are pending than `decisions_max` or `slots_max` hold: it is then closed
as it stands, and counted.
"""

from typing import Any, NamedTuple

import numpy as np

from online.compiling import kernel
from online.fifo import Fifo, fifo, fifo_capacity, fifo_columns, find
from online.settings import CONTEXT_FEATURES_MAX, Settings
from online.tables import Column

ARMS = 2
TAKES_FIRST = 10.0  # takes without a slate that are believed in before any is known
TAKES_KEPT = 100_000.0  # that are remembered at full weight


class Decisions(NamedTuple):
    """Pending and recent slates; the row of a decision is its running number modulo the capacity D."""

    ring: Fifo
    user: np.ndarray[Any, np.dtype[np.uint64]]  # [D] key
    at_ms: np.ndarray[Any, np.dtype[np.int64]]  # [D]
    position: np.ndarray[Any, np.dtype[np.int64]]  # [D] in the log
    context: np.ndarray[Any, np.dtype[np.uint64]]  # [D, CONTEXT_FEATURES_MAX] keys, 0 is none
    start: np.ndarray[Any, np.dtype[np.int64]]  # [D] running number of the first slot
    n: np.ndarray[Any, np.dtype[np.int32]]  # [D]
    arm: np.ndarray[Any, np.dtype[np.uint8]]  # [D]
    cursor: np.ndarray[Any, np.dtype[np.int64]]  # [2]: oldest open decision, slots ever used
    arms: np.ndarray[Any, np.dtype[np.float64]]  # [ARMS, 3]: closed decisions, sum of their rewards, of the squares
    takes: np.ndarray[Any, np.dtype[np.float64]]  # [2] decayed: items taken without a slate, and out of one


class Slots(NamedTuple):
    """Positions of the pending slates, a ring of S; the row of a slot is its running number modulo S."""

    item: np.ndarray[Any, np.dtype[np.int32]]  # [S]
    propensity: np.ndarray[Any, np.dtype[np.float32]]  # [S]
    reward: np.ndarray[Any, np.dtype[np.float32]]  # [S], -1 until an outcome came


DECISION_COLUMNS = (
    *fifo_columns("decisions", served=True),
    Column(name="decisions.user", dtype="u8"),
    Column(name="decisions.at_ms", dtype="i8"),
    Column(name="decisions.position", dtype="i8", served=True),
    Column(name="decisions.context", dtype="u8", shape=(CONTEXT_FEATURES_MAX,)),
    Column(name="decisions.start", dtype="i8"),
    Column(name="decisions.n", dtype="i4"),
    Column(name="decisions.arm", dtype="u1"),
    Column(name="decisions_cursor.cursor", dtype="i8"),
    Column(name="arms.arms", dtype="f8", shape=(3,), served=True),
    Column(name="takes.takes", dtype="f8"),
    Column(name="slots.item", dtype="i4", refers="items"),
    Column(name="slots.propensity", dtype="f4"),
    Column(name="slots.reward", dtype="f4"),
)


def decisions_capacity(settings: Settings) -> dict[str, int]:
    """Rows of the tables above, all of them fixed."""
    return {
        **fifo_capacity("decisions", settings.decisions_max),
        "decisions_cursor": 2,
        "arms": ARMS,
        "takes": 2,
        "slots": settings.slots_max,
    }


def decisions(arrays: dict[str, np.ndarray[Any, Any]]) -> Decisions:
    """The kernels' view of the columns."""
    own = {name: arrays[f"decisions.{name}"] for name in ("user", "at_ms", "position", "context", "start", "n", "arm")}
    return Decisions(
        ring=fifo(arrays, "decisions"),
        cursor=arrays["decisions_cursor.cursor"],
        arms=arrays["arms.arms"],
        takes=arrays["takes.takes"],
        **own,
    )


def slots(arrays: dict[str, np.ndarray[Any, Any]]) -> Slots:
    """The kernels' view of the columns."""
    return Slots(**{name: arrays[f"slots.{name}"] for name in Slots._fields})


@kernel
def must_close(decisions: Decisions, slots: Slots, slots_needed: int) -> bool:
    """Whether the oldest open decision has to go before one with `slots_needed` positions fits."""
    oldest = decisions.cursor[0]
    if oldest >= decisions.ring.pushed[0]:
        return False
    if decisions.ring.pushed[0] - oldest >= decisions.ring.key.shape[0]:
        return True
    first_slot: int = decisions.start[oldest % decisions.ring.key.shape[0]]
    full: bool = decisions.cursor[1] + slots_needed - first_slot > slots.item.shape[0]
    return full


@kernel
def window_closed(decisions: Decisions, watermark_ms: int, window_ms: int) -> bool:
    """Whether the oldest open decision's window has closed in event time."""
    oldest = decisions.cursor[0]
    if oldest >= decisions.ring.pushed[0]:
        return False
    closed: bool = decisions.at_ms[oldest % decisions.ring.key.shape[0]] + window_ms <= watermark_ms
    return closed


@kernel
def open_slot(decisions: Decisions, slots: Slots, decision: np.uint64, item: int) -> int:
    """The slot that an outcome belongs to: its running number; -1 the decision is closed or unknown, -2 the item
    was not in its slate, -3 it has its reward already."""
    number = find(decisions.ring, decision)
    if number < decisions.cursor[0]:
        return -1
    row = number % decisions.ring.key.shape[0]
    for k in range(decisions.n[row]):
        slot = (decisions.start[row] + k) % slots.item.shape[0]
        if slots.item[slot] == item and item >= 0:
            return decisions.start[row] + k if slots.reward[slot] < 0.0 else -3
    return -2


@kernel
def settle(decisions: Decisions, slots: Slots, number: int) -> float:
    """Silence becomes reward 0; the arm is credited with the slate's mean reward, which is returned."""
    row = number % decisions.ring.key.shape[0]
    total = 0.0
    n = decisions.n[row]
    for k in range(n):
        slot = (decisions.start[row] + k) % slots.item.shape[0]
        if slots.reward[slot] < 0.0:
            slots.reward[slot] = 0.0
        total += slots.reward[slot]
    mean = total / n if n > 0 else 0.0
    arm = decisions.arm[row]
    decisions.arms[arm, 0] += 1.0
    decisions.arms[arm, 1] += mean
    decisions.arms[arm, 2] += mean * mean
    return mean


@kernel
def popular_weight(takes: np.ndarray, from_slate: bool, weight: float, slate_weight: float) -> float:
    """Count a take; what it counts in popularity, as a factor.

    What is shown is taken, for being shown, so out of a slate it counts `slate_weight`. What was found without one
    counts whole where that is how things are found. Where it is rare, it counts little more than another take, or the
    few who report without having been shown anything would say what is popular.
    """
    takes[1 if from_slate else 0] += weight
    if takes[0] + takes[1] > TAKES_KEPT:
        takes[0] *= 0.5
        takes[1] *= 0.5
    if from_slate:
        return slate_weight
    share = (TAKES_FIRST + takes[0]) / (TAKES_FIRST + takes[0] + takes[1])
    factor: float = slate_weight + (1.0 - slate_weight) * share * share
    return factor
