"""What is taken most, with counts that fade by the clock: the baseline that a recommender has to beat first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from benchmarks.peers.stream import Size

GREATEST = 1e200  # a newest take may weigh this much before all are scaled down


class Popularity:
    """Counts of takes, each half as heavy after `half_life_s`; 0 is never."""

    def __init__(self, size: Size, *, half_life_s: float) -> None:
        self.name = "popularity"
        self.half_life_ms = half_life_s * 1000.0
        self.heat = np.zeros(size.items)
        self.origin_ms = np.zeros(1)

    def learn(self, user: np.ndarray, item: np.ndarray, at_ms: np.ndarray) -> None:
        warm(self.heat, self.origin_ms, self.half_life_ms, item, at_ms)

    def score(self, user: int, at_ms: int, scores: np.ndarray) -> None:
        total = self.heat.sum()
        if total > 0:
            scores[:] = self.heat / total


@njit(cache=True)
def weight_of(at_ms: float, origin_ms: Any, half_life_ms: float) -> float:
    """What a take weighs now, where one at `origin_ms` weighs 1: old ones are left as they are, new ones weigh more."""
    if half_life_ms <= 0.0:
        return 1.0
    if origin_ms[0] == 0.0:
        origin_ms[0] = at_ms
    return math.exp((at_ms - origin_ms[0]) / half_life_ms * math.log(2.0))


@njit(cache=True)
def warm(heat: Any, origin_ms: Any, half_life_ms: float, item: Any, at_ms: Any) -> None:
    for x in range(len(item)):
        weight = weight_of(at_ms[x], origin_ms, half_life_ms)
        if weight > GREATEST:
            # After a gap the weight itself may be infinite: then all that is old weighs nothing.
            for i in range(len(heat)):
                heat[i] = heat[i] / weight
            origin_ms[0] = at_ms[x]
            weight = 1.0
        heat[item[x]] += weight
