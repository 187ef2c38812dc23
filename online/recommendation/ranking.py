"""Ranking: a first look at all items, then the few best of it exactly. What a slate is picked from, and what a replay
ranks."""

import numpy as np
from numba import njit

from online.recommendation.layout import Learners
from online.recommendation.score import score_all, score_few

SHORTLIST = 128  # items that are scored exactly
FINITE = np.float32(3e38)


@njit(cache=True)
def best_rows(scores: np.ndarray, allowed: np.ndarray, count: int, pool: np.ndarray) -> int:
    """Rows of the highest scores among those allowed, best first, into pool; how many, at most its length. Ties go to
    the lower row; a score that is no number, or infinite, never decides anything."""
    most = pool.shape[0]
    size = 0
    row = 0
    while row < count and size < most:
        if allowed[row] and -FINITE < scores[row] < FINITE:
            pool[size] = row
            size += 1
        row += 1
    if size == most:
        # A heap with the worst on top: what comes later and is better takes its place.
        for at in range(most // 2 - 1, -1, -1):
            _sift(scores, pool, at, most)
        worst = scores[pool[0]]
        for later in range(row, count):
            score = scores[later]
            if score > worst and allowed[later] and score < FINITE:
                pool[0] = later
                _sift(scores, pool, 0, most)
                worst = scores[pool[0]]
    sort_rows(scores, pool, size)
    return size


@njit(cache=True)
def _worse(scores: np.ndarray, a: int, b: int) -> bool:
    """Whether row a ranks behind row b."""
    return scores[a] < scores[b] or (scores[a] == scores[b] and a > b)


@njit(cache=True)
def _sift(scores: np.ndarray, pool: np.ndarray, at: int, size: int) -> None:
    moving = pool[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _worse(scores, pool[child + 1], pool[child]):
            child += 1
        if not _worse(scores, pool[child], moving):
            break
        pool[at] = pool[child]
        at = child
    pool[at] = moving


@njit(cache=True)
def sort_rows(scores: np.ndarray, pool: np.ndarray, size: int) -> None:
    """Put pool[:size] in order of its scores, best first; heapsort, in place."""
    for at in range(size // 2 - 1, -1, -1):
        _sift(scores, pool, at, size)
    for last in range(size - 1, 0, -1):
        worst = pool[0]
        pool[0] = pool[last]
        _sift(scores, pool, 0, last)
        pool[last] = worst


@njit(cache=True)
def rank(
    learners: Learners,
    user: int,
    at_ms: int,
    context: np.ndarray,
    count: int,
    allowed: np.ndarray,
    scores: np.ndarray,
    pool: np.ndarray,
) -> int:
    """The best of the allowed items among 0 … count - 1, best first, into pool; how many.

    scores: f4 [>= count], set: exact for the rows in pool, a first look's for all others, which rank behind them.
    user: row or -1; allowed: bool [>= count]; context: u8 [CONTEXT_FEATURES]; pool: at most CANDIDATES_MAX long.
    """
    score_all(learners, user, at_ms, context, count, scores)
    pooled = best_rows(scores, allowed, count, pool)
    score_few(learners, user, pool, pooled, scores)
    sort_rows(scores, pool, pooled)
    return pooled
