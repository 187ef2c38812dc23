"""Ranks of a stream's events against the whole catalogue, each taken before the event is learned: the kernels, and the
figures made of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from online.compiling import counting_kernel, kernel
from online.fold_kernel import fold_batch
from online.recommendation.availability import Open
from online.recommendation.front import ANEW, Front
from online.recommendation.layout import Learners
from online.recommendation.ranking import SHORTLIST, rank
from online.rows import find_row

TOP = 10
NOT_SCORED, MISS = -1, 0


class Ranked:
    """Ranks of the scored events, and what was shown."""

    def __init__(self, events: int, items: int) -> None:
        self.rank = np.full(events, NOT_SCORED, np.int64)  # 1 is best, MISS is none
        self.shown = np.zeros(items, np.int64)  # top-10 places, by row

    def figures(self, slices: dict[str, np.ndarray], catalogue: int) -> dict[str, Any]:
        """HR@10, NDCG@10 and MRR of all and of each slice; coverage and Gini of what stood in the top 10."""
        scored = self.rank != NOT_SCORED
        result: dict[str, Any] = {"all": _figures(self.rank[scored])}
        for name, mask in slices.items():
            result[name] = _figures(self.rank[scored & mask])
        shown = np.zeros(catalogue, np.int64)
        shown[: min(catalogue, len(self.shown))] = self.shown[:catalogue]
        result["coverage"] = round(float((shown > 0).mean()), 4)
        result["gini"] = round(gini(shown), 4)
        return result


def _figures(rank: np.ndarray) -> dict[str, Any]:
    n = len(rank)
    if n == 0:
        return {"n": 0, "hr@10": None, "ndcg@10": None, "mrr": None}
    found = rank[rank > MISS].astype(np.float64)
    hit = found[found <= TOP]
    return {
        "n": n,
        "hr@10": round(len(hit) / n, 4),
        "ndcg@10": round(float((1.0 / np.log2(1.0 + hit)).sum() / n), 4),
        "mrr": round(float((1.0 / found).sum() / n), 4),
    }


def gini(counts: np.ndarray) -> float:
    """Inequality of exposure: 0 all items alike, near 1 one item has everything.

    >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 4]))
    (0.0, 0.75)
    """
    total = int(counts.sum())
    if total == 0:
        return 0.0
    ordered = np.sort(counts).astype(np.float64)
    n = len(ordered)
    return float((2.0 * np.arange(1, n + 1) - n - 1.0) @ ordered / (n * total))


@kernel
def link(user: Any, first: int, last: int, last_of: Any, before: Any) -> None:
    """Chain each user's rows: `last_of` the newest, and `before` each row the one before it."""
    for row in range(first, last):
        before[row] = last_of[user[row]]
        last_of[user[row]] = row


@kernel
def rank_of(scores: Any, count: int, target: int, pool: Any, pooled: int, shown: Any) -> int:
    """The target's place among the best, ties against it; one that is not there ranks last. The top 10 are counted.

    pool[:pooled]: the best rows of `count`, in order.
    """
    for at in range(min(pooled, TOP)):
        shown[pool[at]] += 1
    inside = False
    place = 1
    for at in range(pooled):
        if pool[at] == target:
            inside = True
        elif scores[pool[at]] >= scores[target]:
            place += 1
    return place if inside else count


@counting_kernel
def place_of(
    learners: Learners,
    rows: Open,
    front: Front,
    stamp: int,
    user: int,
    at_ms: int,
    context: Any,
    count: int,
    target: int,
    scores: Any,
    pool: Any,
    shown: Any,
) -> int:
    """The target's place among rows 0 … count - 1 without those that hold `stamp`; what is shown is counted."""
    everything = np.zeros(0, np.int64)
    pooled = rank(
        learners, rows, front, ANEW, stamp, everything, False, user, at_ms, context, count, scores, pool, SHORTLIST
    )
    return rank_of(scores, count, target, pool, pooled, shown)


@counting_kernel
def rank_and_fold(
    folded: Any,
    learners: Learners,
    still: Learners,
    both: bool,
    users: Any,
    items: Any,
    catalogue: Any,
    front: Front,
    start: int,
    n: int,
    stream_first: int,
    user: Any,
    item: Any,
    at_ms: Any,
    context: Any,
    user_key: Any,
    item_key: Any,
    group_end: Any,
    scored: Any,
    include_seen: bool,
    item_row: Any,
    last_of: Any,
    before: Any,
    scores: Any,
    stamp: Any,
    followed_rank: Any,
    followed_shown: Any,
    frozen_rank: Any,
    frozen_shown: Any,
) -> int:
    """Rows start … start + n - 1: each group is ranked as a whole, then its rows are folded one by one."""
    pool = np.zeros(SHORTLIST, np.int64)
    known_users = still.users.taken.shape[0]
    for b in range(n):
        x = start + b
        opens = x == stream_first or group_end[x - 1] == x
        if opens:
            for y in range(x, group_end[x]):
                if not scored[y]:
                    continue
                out = y - stream_first
                followed_rank[out] = MISS
                if both:
                    frozen_rank[out] = MISS
                count = items.handed_out[0]
                target = find_row(items, item_key[item[y]])
                if not include_seen:
                    z = last_of[user[y]]
                    while z >= 0:
                        row = item_row[item[z]]
                        if row < 0:
                            row = find_row(items, item_key[item[z]])
                            item_row[item[z]] = row
                        stamp[row] = y
                        z = before[z]
                hopeless = target < 0
                if not hopeless and stamp[target] == y:
                    hopeless = True
                row = find_row(users, user_key[user[y]])
                rows = Open(catalogue, items.key, items.key, stamp)
                place = place_of(
                    learners, rows, front, y, row, at_ms[y], context[y], count, target, scores, pool, followed_shown
                )
                if not hopeless:
                    followed_rank[out] = place
                if both:
                    row = row if row < known_users else -1
                    place = place_of(
                        still, rows, front, y, row, at_ms[y], context[y], count, target, scores, pool, frozen_shown
                    )
                    if not hopeless:
                        frozen_rank[out] = place
        if fold_batch(b, b + 1, folded) != b + 1:
            return b
        before[x] = last_of[user[x]]
        last_of[user[x]] = x
    return n
