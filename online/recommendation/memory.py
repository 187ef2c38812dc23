"""Associations: what is taken after what, near what, and in which context, in a fixed number of slots per row.

A row of slots holds items and decayed counts. All counts of a row are decayed together, when one of them grows. Where
no slot is free, the smallest count gives way (the lowest slot among equals): part of the fold, so a replay forgets the
same. Slots in use stand before the free ones (`close_up`), so that a row is read no further than it is filled. After
Misra and Gries (1982), with decay in the place of their common decrement.
"""

from typing import NamedTuple

import numpy as np

from online.arithmetic import exp2
from online.compiling import kernel

LEAST_SHARE = np.float32(1e-5)  # of a row; less says nothing


@kernel
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
    smallest = 0
    for s in range(slots):
        if items[s] == item:
            counts[s] += grows
            return
        if items[s] < 0:
            smallest = s
            break
        if counts[s] < counts[smallest]:
            smallest = s
    total[row] -= counts[smallest]
    items[smallest] = item
    counts[smallest] = grows


def close_up(slot_items: np.ndarray, slot_counts: np.ndarray) -> None:
    """Put the slots in use before the free ones again, in their order, after items were forgotten. In place."""
    gaps = np.flatnonzero(((slot_items[:, :-1] < 0) & (slot_items[:, 1:] >= 0)).any(axis=1))
    order = np.argsort(slot_items[gaps] < 0, axis=1, kind="stable")
    for slots in (slot_items, slot_counts):
        slots[gaps] = np.take_along_axis(slots[gaps], order, axis=1)


@kernel
def share_of_one(total: float, at_ms: float, now_ms: float, half_life_ms: float, prior: float) -> float:
    """The share that a count of one, as it stands in the row, has of the row now; shrunk as if `prior` more takes,
    none of these items, had been seen."""
    left = exp2((at_ms - now_ms) / half_life_ms) if now_ms > at_ms else 1.0
    return left / (total * left + prior)


class Brought(NamedTuple):
    """Items that the memories bring up for one score, each with its shares and their part of the mixture."""

    mark: np.ndarray  # i4 [items] place among them or -1
    item: np.ndarray  # i4 [most] in the order in which they came up
    held: np.ndarray  # i4 [most] bit e: expert e gives it a share
    share: np.ndarray  # f4 [most, SPARSE], of the experts that are held
    mixture: np.ndarray  # f4 [most] sum of trust * share
    trust: np.ndarray  # f4 [SPARSE]


@kernel
def bring(
    brought: Brought, slot_items: np.ndarray, slot_counts: np.ndarray, row: int, scale: float, expert: int, used: int
) -> int:
    """Add a row's counts, times `scale`, to one expert's share for the items that it holds; how many items there are
    by now. One that finds no place any more is left out.

    Nothing is called for an item: a call counts references to each array that it takes, which costs more than all else
    here.
    """
    mark, touched, held, shares, mixture = brought.mark, brought.item, brought.held, brought.share, brought.mixture
    by, trust, bit = np.float32(scale), brought.trust[expert], np.int32(1 << expert)
    items, room = mark.shape[0], touched.shape[0]
    for s in range(slot_items.shape[1]):
        item = slot_items[row, s]
        if item < 0:
            break
        if item >= items:
            continue
        share = slot_counts[row, s] * by
        if share < LEAST_SHARE:
            continue
        at = mark[item]
        if at >= 0:
            if held[at] & bit:
                shares[at, expert] += share
            else:
                held[at] |= bit
                shares[at, expert] = share
            mixture[at] += trust * share
        elif used < room:
            mark[item], touched[used], held[used] = used, item, bit
            shares[used, expert] = share
            mixture[used] = trust * share
            used += 1
    return used
