"""Popularity at several half-lives, in logarithms, so that decay costs nothing.

The decayed count of an item at time t is c * 2**-((t - t_c) / half-life). Kept is its `heat`, log2(c) + t_c /
half-life: it stands still while the count decays, and it only ever grows. So the order of the items by popularity
changes only at an item that is taken, and a list of the most popular ones is kept exactly by moving that one item up.
"""

import numpy as np
from numba import njit

from online.arithmetic import exp2, log2
from online.recommendation.layout import HALF_LIVES_S, NEVER, POPULARITIES, TOP, ItemArrays, MixingArrays

HALF_LIVES_MS = np.array(HALF_LIVES_S) * 1000.0
FLOOR = -1.736965594166206  # log2(0.3): a count below this is as good as none


@njit(cache=True)
def warmer(heat: float, cooled: float, weight: float) -> float:
    """The heat after one more take of this weight, where the time stands at `cooled` half-lives."""
    return cooled + log2(exp2(heat - cooled) + weight)


@njit(cache=True)
def take(items: ItemArrays, mixing: MixingArrays, item: int, at_ms: int, weight: float) -> None:
    """Count one take, and keep the lists of the most popular in order."""
    for h in range(POPULARITIES):
        cooled = at_ms / HALF_LIVES_MS[h]
        items.heat[h, item] = warmer(items.heat[h, item], cooled, weight)
        _move_up(items.heat[h], mixing.top[h], item)


@njit(cache=True)
def _move_up(heat: np.ndarray, top: np.ndarray, item: int) -> None:
    """Put the item where its heat belongs, best first; among equals the lower row stands first."""
    at = 0
    while at < TOP and top[at] >= 0 and top[at] != item:
        at += 1
    if at == TOP:
        last = top[TOP - 1]
        if heat[item] < heat[last] or (heat[item] == heat[last] and item > last):
            return
        at = TOP - 1
    while at > 0:
        above = top[at - 1]
        if heat[above] > heat[item] or (heat[above] == heat[item] and above < item):
            break
        top[at] = above
        at -= 1
    top[at] = item


@njit(cache=True)
def build_top(items: ItemArrays, mixing: MixingArrays, count: int) -> None:
    """The lists anew, out of the heats: after items were forgotten."""
    for h in range(POPULARITIES):
        mixing.top[h] = -1
        for item in range(count):
            if items.heat[h, item] > NEVER:
                _move_up(items.heat[h], mixing.top[h], item)
