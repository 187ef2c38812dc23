"""Associations: what is taken after what, near what, and in which context, in a fixed number of slots per row.

A row of slots holds items and decayed counts. All counts of a row are decayed together, when one of them grows. Where
no slot is free, the smallest count gives way (the lowest slot among equals): part of the fold, so a replay forgets the
same. After Misra and Gries (1982), with decay in the place of their common decrement.
"""

import numpy as np
from numba import njit

from online.arithmetic import exp2

LEAST_SHARE = np.float32(1e-5)  # of a row; less says nothing


@njit(cache=True)
def remember(
    slot_items: np.ndarray,
    slot_counts: np.ndarray,
    total: np.ndarray,
    at_ms: np.ndarray,
    row: int,
    item: int,
    now_ms: float,
    half_life_ms: float,
    weight: float,
) -> None:
    """Count `item` in a row, in place.

    slot_items: i4 [rows, slots], -1 is free; slot_counts: f4 [rows, slots]; total: f4 [rows], their sum; at_ms: f8
    [rows], the time up to which they are decayed. An event that comes late counts for what is left of it.
    """
    items, counts = slot_items[row], slot_counts[row]
    slots = items.shape[0]
    grows = np.float32(weight)
    if now_ms > at_ms[row]:
        if total[row] > 0.0:
            left = np.float32(exp2((at_ms[row] - now_ms) / half_life_ms))
            for s in range(slots):
                counts[s] *= left
            total[row] *= left
        at_ms[row] = now_ms
    elif now_ms < at_ms[row]:
        grows = np.float32(weight * exp2((now_ms - at_ms[row]) / half_life_ms))
    total[row] += grows
    for s in range(slots):
        if items[s] == item:
            counts[s] += grows
            return
    smallest = 0
    for s in range(slots):
        if items[s] < 0:
            smallest = s
            break
        if counts[s] < counts[smallest]:
            smallest = s
    total[row] -= counts[smallest]
    items[smallest] = item
    counts[smallest] = grows


@njit(cache=True)
def share_of_one(total: float, at_ms: float, now_ms: float, half_life_ms: float, prior: float) -> float:
    """The share that a count of one, as it stands in the row, has of the row now; shrunk as if `prior` more takes,
    none of these items, had been seen."""
    left = exp2((at_ms - now_ms) / half_life_ms) if now_ms > at_ms else 1.0
    return left / (total * left + prior)


@njit(cache=True)
def bring(
    slot_items: np.ndarray,
    slot_counts: np.ndarray,
    row: int,
    scale: float,
    feature: int,
    mark: np.ndarray,
    touched: np.ndarray,
    features: np.ndarray,
    used: int,
) -> int:
    """Add a row's counts, times `scale`, to a feature of the items that it holds; how many items are touched by now.

    mark: i4 [items] place among the touched or -1; touched: i4 [most]; features: f4 [most, features], of the touched.
    An item that finds no place any more is left out.
    """
    by = np.float32(scale)
    rows, most, width = mark.shape[0], touched.shape[0], features.shape[1]
    for s in range(slot_items.shape[1]):
        item = slot_items[row, s]
        if item < 0 or item >= rows:
            continue
        share = slot_counts[row, s] * by
        if share < LEAST_SHARE:
            continue
        at = mark[item]
        if at < 0:
            if used == most:
                continue
            at = used
            used += 1
            mark[item] = at
            touched[at] = item
            for f in range(width):
                features[at, f] = 0.0
        features[at, feature] += share
    return used
