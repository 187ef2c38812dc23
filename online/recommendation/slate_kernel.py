"""The kernel of a decision: candidates → ranking → rules → exploration → slate, with its largest reasons."""

from typing import Any

import numpy as np
from numba import njit

from online.recommendation.catalogue import Catalogue
from online.recommendation.layout import EXPERTS, Learners
from online.recommendation.ranking import rank
from online.recommendation.score import explain_few, score_few
from online.recommendation.slate import allow_available, pick_slate
from online.rows import Rows, find_row


@njit(cache=True)
def _largest(terms: Any, experts: Any, parts: Any) -> None:
    """The terms of the largest size, the largest first; among equals the lower number. They leave `terms`."""
    for t in range(experts.shape[0]):
        largest = 0
        for e in range(1, terms.shape[0]):
            if abs(terms[e]) > abs(terms[largest]):
                largest = e
        experts[t] = largest
        parts[t] = terms[largest]
        terms[largest] = np.float32(0.0)


@njit(cache=True)
def decide_slate(
    users: Rows,
    items: Rows,
    catalogue: Catalogue,
    learners: Learners,
    scored_key: Any,
    user: np.uint64,
    at_ms: int,
    context: Any,
    candidates: Any,
    restricted: bool,
    exclude: Any,
    caps: Any,
    n: int,
    exploration: float,
    seed: np.uint64,
    decision: np.uint64,
    scores: Any,
    allowed: Any,
    pool: Any,
    rows: Any,
    propensities: Any,
    experts: Any,
    parts: Any,
) -> int:
    """Fill rows [n], propensities [n], and the largest terms: experts and parts [n, terms kept]; how many positions
    are filled.

    scored_key: keys of the rows that `learners` can score; a row that holds another item now is not theirs.
    """
    count = min(items.handed_out[0], scored_key.shape[0])
    user_row = find_row(users, user)
    allow_available(catalogue, items.key, count, at_ms, allowed)
    for row in range(count):
        if scored_key[row] != items.key[row]:
            allowed[row] = False
    if restricted:
        for row in range(count):
            scores[row] = 0.0
        for k in range(candidates.shape[0]):
            row = find_row(items, candidates[k])
            if 0 <= row < count:
                scores[row] = 1.0
        for row in range(count):
            allowed[row] = allowed[row] and scores[row] == 1.0
    for k in range(exclude.shape[0]):
        row = find_row(items, exclude[k])
        if 0 <= row < count:
            allowed[row] = False
    pooled = rank(learners, user_row, at_ms, context, count, allowed, scores, pool)
    filled = pick_slate(scores, pool, pooled, catalogue, caps, n, exploration, seed, decision, rows, propensities)
    score_few(learners, user_row, rows, filled, scores)
    terms = np.empty(len(EXPERTS), np.float32)
    for k in range(filled):
        explain_few(learners, k, rows[k], terms)
        _largest(terms, experts[k], parts[k])
    return filled
