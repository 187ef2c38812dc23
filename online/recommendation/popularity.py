"""Popularity at several half-lives, so that decay costs nothing.

A take at time t adds 2**((t - origin) / half-life) to the item's `heat` and to the sum of all heats. Heats stand still
while counts decay, and heat / sum is the item's share of all recent takes at any time. So the order of the items by
popularity changes only at an item that is taken, and a list of the most popular ones is kept by moving that one up.

What is shown is taken, for being shown: takes out of slates count `slate_weight` here, or a service that shows what
is popular makes it more so. What was found without a slate counts whole, unless that is rare
(`attribution.popular_weight`). What a user takes again without one is not counted: popular is
what many take.

Where the weight of a take has grown to 2**SHIFT_FROM, the origin moves on by whole half-lives and all heats are scaled
by that power of two, which is exact but for counts so old that they vanish.
"""

import numpy as np

from online.arithmetic import exp2
from online.compiling import kernel
from online.recommendation.layout import HALF_LIVES_S, POPULARITIES, TOP, ItemArrays, MixingArrays

HALF_LIVES_MS = np.array(HALF_LIVES_S) * 1000.0
SHIFT_FROM = 24.0  # half-lives


@kernel
def take(items: ItemArrays, mixing: MixingArrays, item: int, at_ms: int, weight: float) -> bool:
    """Count one take, and keep the lists of the most popular in order. Whether all items' heats were scaled."""
    scaled = False
    for h in range(POPULARITIES):
        age = (at_ms - mixing.origin_ms[h]) / HALF_LIVES_MS[h]
        if age > SHIFT_FROM:
            whole = np.floor(age)
            mixing.origin_ms[h] += whole * HALF_LIVES_MS[h]
            age -= whole
            _scale(items.heat, mixing.total, h, whole)
            scaled = True
        grows = np.float32(weight * exp2(age))
        items.heat[item, h] += grows
        mixing.total[h] += grows
        _move_up(items.heat, h, mixing.top[h], item)
    return scaled


@kernel
def _scale(heat: np.ndarray, total: np.ndarray, h: int, half_lives: float) -> None:
    factor = np.float32(exp2(-half_lives))
    for item in range(heat.shape[0]):
        heat[item, h] *= factor
    total[h] *= float(factor)


@kernel
def _move_up(heat: np.ndarray, h: int, top: np.ndarray, item: int) -> None:
    """Put the item where its heat belongs, best first; among equals the lower row stands first."""
    at = 0
    while at < TOP and top[at] >= 0 and top[at] != item:
        at += 1
    if at == TOP:
        last = top[TOP - 1]
        if heat[item, h] < heat[last, h] or (heat[item, h] == heat[last, h] and item > last):
            return
        at = TOP - 1
    while at > 0:
        above = top[at - 1]
        if heat[above, h] > heat[item, h] or (heat[above, h] == heat[item, h] and above < item):
            break
        top[at] = above
        at -= 1
    top[at] = item


@kernel
def count_again(items: ItemArrays, mixing: MixingArrays, count: int) -> None:
    """Sums and lists anew, out of the heats: after items were forgotten."""
    for h in range(POPULARITIES):
        mixing.top[h] = -1
        total = 0.0
        for item in range(count):
            total += float(items.heat[item, h])
            if items.heat[item, h] > 0.0:
                _move_up(items.heat, h, mixing.top[h], item)
        mixing.total[h] = total
