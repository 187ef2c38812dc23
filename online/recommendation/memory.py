"""Associations: what is taken after what, near what, and in which context, in a fixed number of slots per row.

A row of slots holds items and decayed counts. All counts of a row are decayed together, when one of them grows. Where
no slot is free, the smallest count gives way (the lowest slot among equals): part of the fold, so a replay forgets the
same. After Misra and Gries (1982), with decay in the place of their common decrement.
"""

import numpy as np
from numba import njit

from online.arithmetic import exp2


@njit(cache=True)
def remember(
    slot_items: np.ndarray,
    slot_counts: np.ndarray,
    decayed_ms: float,
    item: int,
    at_ms: float,
    half_life_ms: float,
    weight: float,
) -> float:
    """Count `item` in a row, in place; when the row is decayed to now. slot_items: i4 [slots], slot_counts: f4 [slots].

    An event that comes late counts for what is left of it at the row's time.
    """
    slots = slot_items.shape[0]
    if at_ms >= decayed_ms:
        factor = np.float32(exp2((decayed_ms - at_ms) / half_life_ms)) if decayed_ms > 0.0 else np.float32(0.0)
        for s in range(slots):
            slot_counts[s] *= factor
        decayed_ms = at_ms
        grows = np.float32(weight)
    else:
        grows = np.float32(weight * exp2((at_ms - decayed_ms) / half_life_ms))
    for s in range(slots):
        if slot_items[s] == item:
            slot_counts[s] += grows
            return decayed_ms
    smallest = 0
    for s in range(slots):
        if slot_items[s] < 0:
            smallest = s
            break
        if slot_counts[s] < slot_counts[smallest]:
            smallest = s
    slot_items[smallest] = item
    slot_counts[smallest] = grows
    return decayed_ms


@njit(cache=True)
def fraction_left(decayed_ms: float, now_ms: float, half_life_ms: float) -> float:
    """What is left at `now_ms` of counts that were decayed at `decayed_ms`."""
    return exp2((decayed_ms - now_ms) / half_life_ms) if now_ms > decayed_ms else 1.0
