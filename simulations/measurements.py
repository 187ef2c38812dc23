"""What a run measured, decision by decision, and the statistics over it.

The reward of a slate is compared with the best slate there was at that moment (known only in a simulation):
`share of best` = sum of true values / sum of best values. Viewers differ more than decisions of one
viewer do, so intervals are clustered by viewer.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

LIVE, CHAMPION = "live", "champion"
ARM_NAMES = {LIVE: "continued", CHAMPION: "frozen"}


@dataclass(frozen=True, slots=True)
class Decision:
    """One slate as a viewer met it."""

    wall_s: float  # since the viewers began
    at_ms: int  # event time
    phase: str
    viewer: int
    joined_live: int  # 1: the viewer is not in the history
    arm: str
    n: int
    value: float  # true expected watched shares, by position
    best: float  # of the best slate of that moment
    random: float  # of a random slate
    observed: float  # watched shares that came of it
    new_titles: int  # positions given to titles that the history does not know
    best_new_titles: int  # the same for the best slate
    latency_ms: float
    staleness_ms: float


@dataclass(frozen=True, slots=True)
class Freshness:
    """One acknowledged event, followed by a decision that had to know it."""

    wall_s: float
    waited_ms: float  # acknowledgement of the event to the reply that knew it, the call itself included
    known: int  # 1: the reply's position is at or past the event's


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int
    viewers: int


def share_of_best(decisions: Iterable[Decision]) -> Estimate:
    """Ratio of sums with an interval clustered by viewer (linearised). nan without decisions."""
    chosen = list(decisions)
    viewers = [one.viewer for one in chosen]
    return clustered_ratio([one.value for one in chosen], [one.best for one in chosen], viewers)


def clustered_ratio(top: Sequence[float], bottom: Sequence[float], cluster: Sequence[int] | np.ndarray) -> Estimate:
    """sum(top) / sum(bottom), 95 % interval over clusters: Cochran, Sampling Techniques (1977), eq. 6.4."""
    if len(top) == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, 0)
    tops, bottoms = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    ratio = float(tops.sum() / bottoms.sum()) if bottoms.sum() else math.nan
    _, code = np.unique(cluster, return_inverse=True)
    residual = np.bincount(code, weights=tops - ratio * bottoms)
    clusters = len(residual)
    if clusters < 2:
        return Estimate(ratio, math.nan, math.nan, len(tops), clusters)
    error = math.sqrt(clusters / (clusters - 1) * float(np.sum(residual**2))) / float(bottoms.sum())
    return Estimate(ratio, ratio - 1.96 * error, ratio + 1.96 * error, len(tops), clusters)


def difference(one: Estimate, other: Estimate) -> Estimate:
    """one - other of two independent estimates (the arms share no viewer)."""
    error = math.hypot((one.high - one.low) / 3.92, (other.high - other.low) / 3.92)
    mean = one.mean - other.mean
    return Estimate(mean, mean - 1.96 * error, mean + 1.96 * error, one.n + other.n, one.viewers + other.viewers)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value with at least that share of the values at or below it; nan without values."""
    if not len(values):
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def write_measurements(path: Path, rows: Sequence[Decision] | Sequence[Freshness], kind: type) -> None:
    names = [one.name for one in fields(kind)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_decisions(path: Path) -> list[Decision]:
    return [Decision(**row) for row in _read(path, Decision)]


def read_freshness(path: Path) -> list[Freshness]:
    return [Freshness(**row) for row in _read(path, Freshness)]


def _read(path: Path, kind: type) -> list[dict[str, float | int | str]]:
    convert = {"float": float, "int": int, "str": str}
    types = {one.name: convert[str(one.type)] for one in fields(kind)}
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: types[name](text) for name, text in row.items()} for row in csv.DictReader(file)]
