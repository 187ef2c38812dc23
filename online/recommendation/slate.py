"""From scores to a slate: what may be shown, caps, exploration with the exact propensity of every position.

The policy at a position, over the items that are left: with probability 1 - exploration the best one; else one of the
best EXPLORED_MAX, drawn with weights 1 / (1 + best - score), the inverse gap weighting of SquareCB (Foster, Rakhlin,
ICML 2020). A position's propensity is P(its item | the items above it). Ties in score go to the lower row.
"""

from typing import Any

import numpy as np

from online.chance import uniform
from online.compiling import counting_kernel, kernel
from online.recommendation.catalogue import GROUPS_MAX, Catalogue
from online.settings import CAPS_MAX, SLATE_MAX

EXPLORED_MAX = 20


@kernel
def _capped(catalogue: Catalogue, row: int, caps: Any, used_group: Any, used_many: Any, used: int) -> bool:
    for cap in range(caps.shape[0]):
        for k in range(GROUPS_MAX):
            group = catalogue.groups[row, cap, k]
            if group == 0:
                continue
            for u in range(used):
                if used_group[u] == group and used_many[u] >= caps[cap]:
                    return True
    return False


@kernel
def _count_groups(catalogue: Catalogue, row: int, caps: Any, used_group: Any, used_many: Any, used: int) -> int:
    for cap in range(caps.shape[0]):
        for k in range(GROUPS_MAX):
            group = catalogue.groups[row, cap, k]
            if group == 0:
                continue
            at = 0
            while at < used and used_group[at] != group:
                at += 1
            if at == used:
                used_group[used] = group
                used_many[used] = 0
                used += 1
            used_many[at] += 1
    return used


@kernel
def choice_weights(scores: Any, options: Any, n: int, exploration: float, out: Any) -> None:
    """out: [>= n] probabilities over options[:n], best first, that sum to one. Inverse gap weighting, see above."""
    best = scores[options[0]]
    total = 0.0
    for k in range(n):
        out[k] = 1.0 / (1.0 + (float(best) - float(scores[options[k]])))
        total += out[k]
    for k in range(n):
        out[k] = exploration * (out[k] / total)
    out[0] += 1.0 - exploration


@counting_kernel
def pick_slate(
    scores: Any,
    pool: Any,
    pooled: int,
    catalogue: Catalogue,
    caps: Any,
    n: int,
    exploration: float,
    seed: np.uint64,
    decision: np.uint64,
    rows: Any,
    propensities: Any,
) -> int:
    """Fill rows [n] and propensities [n] out of pool[:pooled] (best first); how many positions could be filled."""
    taken = np.zeros(pooled, np.bool_)
    used_group = np.empty(SLATE_MAX * CAPS_MAX * GROUPS_MAX, np.uint64)
    used_many = np.empty(SLATE_MAX * CAPS_MAX * GROUPS_MAX, np.int64)
    used = 0
    options = np.empty(EXPLORED_MAX, np.int64)
    option_at = np.empty(EXPLORED_MAX, np.int64)
    weights = np.empty(EXPLORED_MAX, np.float64)
    start = 0
    for position in range(n):
        while start < pooled and taken[start]:
            start += 1
        found = 0
        for at in range(start, pooled):
            if taken[at] or _capped(catalogue, pool[at], caps, used_group, used_many, used):
                continue
            options[found] = pool[at]
            option_at[found] = at
            found += 1
            if found == EXPLORED_MAX or (exploration == 0.0 and found == 1):
                break
        if found == 0:
            return position
        choice_weights(scores, options, found, exploration, weights)
        drawn = uniform(seed, decision, position)
        chosen = 0
        reached = weights[0]
        while drawn >= reached and chosen < found - 1:
            chosen += 1
            reached += weights[chosen]
        rows[position] = options[chosen]
        propensities[position] = weights[chosen]
        taken[option_at[chosen]] = True
        used = _count_groups(catalogue, rows[position], caps, used_group, used_many, used)
    return n
