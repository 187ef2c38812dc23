"""Ranking: candidates out of every expert's best, a first look at them, then the few best exactly.

What a slate is picked from, and what a replay ranks. The candidates are the best of what the memories hold, the lists
of the most popular, the newest items, and the items whose codes agree most with the user's query, out of the cells that
it points to: a few hundred, however large the catalogue. Where they are too few, or the catalogue is small, all items
are candidates; where the request names its own, those are.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from online.recommendation.catalogue import Catalogue
from online.recommendation.cells import probed
from online.recommendation.codes import encode
from online.recommendation.layout import (
    DIMENSION,
    F_TASTE,
    POPULARITIES,
    TOP,
    CellArrays,
    Learners,
    Scratch,
)
from online.recommendation.score import first_look, gather, has_taste, score_few

SHORTLIST = 64  # items that are scored exactly, at least
BEYOND = 24  # more of them than a slate has positions
ALL_UP_TO = 768  # items: below, all are candidates
FROM_MEMORY = 96
FROM_TASTE = 64
FINITE = np.float32(3e38)


class Open(NamedTuple):
    """Which rows may be shown. Excluded are those that hold `stamp`."""

    catalogue: Catalogue
    key: Any  # u8 [rows] of the live items; 0 is none
    scored_key: Any  # u8 [rows] of the items that the learners know in these rows
    stamps: Any  # i8 [rows]


@njit(cache=True)
def keep_open(rows: Open, listed: np.ndarray, size: int, at_ms: int, stamp: int) -> int:
    """Of listed[:size] keep those that are there, for sale at `at_ms`, and not excluded, in their order; how many."""
    stamps, key, scored_key = rows.stamps, rows.key, rows.scored_key
    since, until = rows.catalogue.available_from_ms, rows.catalogue.available_until_ms
    kept = 0
    for k in range(size):
        row = listed[k]
        if stamps[row] == stamp or key[row] == 0 or key[row] != scored_key[row]:
            continue
        if since[row] <= at_ms and at_ms < until[row]:
            listed[kept] = row
            kept += 1
    return kept


@njit(cache=True)
def _worse(scores: np.ndarray, a: int, b: int) -> bool:
    """Whether row a ranks behind row b: ties go to the lower row."""
    return bool(scores[a] < scores[b] or (scores[a] == scores[b] and a > b))


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
def offer(scores: np.ndarray, pool: np.ndarray, most: int, size: int, row: int) -> int:
    """Put `row` among the best `most` of what was offered so far, a heap with the worst on top; how many there are.

    A score that is no number, or infinite, never decides anything.
    """
    if not -FINITE < scores[row] < FINITE:
        return size
    if size < most:
        pool[size] = row
        size += 1
        if size == most:
            for at in range(most // 2 - 1, -1, -1):
                _sift(scores, pool, at, most)
    elif _worse(scores, pool[0], row):
        pool[0] = row
        _sift(scores, pool, 0, most)
    return size


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
def best_of(scores: np.ndarray, listed: np.ndarray, size: int, pool: np.ndarray, most: int, held: int) -> int:
    """Offer listed[:size] to the best `most` in pool, of which there are `held`; how many there are then."""
    for k in range(size):
        held = offer(scores, pool, most, held, listed[k])
    return held


@njit(cache=True)
def _remembered(scratch: Scratch, count: int, scores: np.ndarray) -> int:
    """What the memories brought up, into scratch.found, with its part of the mixture as the score; how many."""
    touched, sparse, found = scratch.touched, scratch.sparse, scratch.found
    size = 0
    for at in range(scratch.used[0]):
        row = touched[at]
        if row < count:
            scores[row] = sparse[at]
            found[size] = row
            size += 1
    return size


@njit(cache=True)
def _tasted(
    cells: CellArrays, scratch: Scratch, query: np.ndarray, code: np.ndarray, step: np.ndarray, count: int, scores: Any
) -> int:
    """Items of the cells that the query points to, into scratch.found, scored by their codes; how many."""
    found, mine = scratch.found, scratch.query_code[0]
    start, rows = cells.start, cells.row
    size = 0
    for at in range(probed(cells.centre, query, scratch.near, scratch.nearest)):
        cell = scratch.nearest[at]
        for place in range(start[cell], start[cell + 1]):
            row = rows[place]
            if row < count and size < found.shape[0]:
                total = np.int32(0)
                for k in range(DIMENSION):
                    total += np.int32(mine[k]) * np.int32(code[row, k])
                scores[row] = step[row] * np.float32(total)
                found[size] = row
                size += 1
    return size


@njit(cache=True)
def _listed(
    learners: Learners, rows: Open, stamp: int, user: int, at_ms: int, tasteful: bool, count: int, scores: np.ndarray
) -> int:
    """The experts' best open items among rows 0 … count - 1, each once, into scratch.listed; how many."""
    items, mixing, scratch = learners.items, learners.mixing, learners.scratch
    found, best, listed, seen = scratch.found, scratch.best, scratch.listed, scratch.seen
    top, newest = mixing.top, mixing.newest
    scratch.stamps[0] += 1
    now = scratch.stamps[0]
    many = keep_open(rows, found, _remembered(scratch, count, scores), at_ms, stamp)
    size = best_of(scores, found, many, listed, FROM_MEMORY, 0)
    for at in range(size):
        seen[listed[at]] = now
    if tasteful:
        many = _tasted(learners.cells, scratch, learners.users.query[user], items.code, items.code_step, count, scores)
        many = keep_open(rows, found, many, at_ms, stamp)
        many = best_of(scores, found, many, best, FROM_TASTE, 0)
        for at in range(many):
            if seen[best[at]] != now:
                seen[best[at]] = now
                listed[size] = best[at]
                size += 1
    first = size
    for h in range(POPULARITIES):
        for k in range(TOP):
            row = top[h, k]
            if 0 <= row < count and seen[row] != now:
                seen[row] = now
                listed[size] = row
                size += 1
    for k in range(newest.shape[0]):
        row = newest[k]
        if 0 <= row < count and seen[row] != now:
            seen[row] = now
            listed[size] = row
            size += 1
    return first + keep_open(rows, listed[first:], size - first, at_ms, stamp)


@njit(cache=True)
def rank(
    learners: Learners,
    rows: Open,
    stamp: int,
    given: np.ndarray,
    restricted: bool,
    user: int,
    at_ms: int,
    context: np.ndarray,
    count: int,
    scores: np.ndarray,
    pool: np.ndarray,
    most: int,
) -> int:
    """The best open items among rows 0 … count - 1, best first, into pool; how many, at most `most`.

    scores: f4 [>= count], exact for the rows in pool, of no meaning for others. given: rows (-1 is unknown) that are
    the only candidates if `restricted`. user: row or -1; context: u8 [CONTEXT_FEATURES]; most: up to CANDIDATES_MAX.
    """
    gather(learners, user, at_ms, context)
    scratch = learners.scratch
    tasteful = has_taste(learners, user)
    by_taste = np.float32(0.0)
    if tasteful:
        encode(learners.users.query, user, scratch.query_code, scratch.query_step, 0)
        by_taste = scratch.weight[F_TASTE] * scratch.query_step[0]
    listed = scratch.listed
    size = 0
    if not restricted and count > ALL_UP_TO:
        many = _listed(learners, rows, stamp, user, at_ms, tasteful, count, scores)
        first_look(learners, listed, many, by_taste, scores)
        size = best_of(scores, listed, many, pool, most, 0)
    if size < most:
        # The request's own candidates, or all items, a listful at a time.
        size = 0
        whole = given.shape[0] if restricted else count
        for start in range(0, whole, listed.shape[0]):
            many = 0
            for k in range(start, min(start + listed.shape[0], whole)):
                row = given[k] if restricted else k
                if 0 <= row < count:
                    listed[many] = row
                    many += 1
            many = keep_open(rows, listed, many, at_ms, stamp)
            first_look(learners, listed, many, by_taste, scores)
            size = best_of(scores, listed, many, pool, most, size)
    score_few(learners, user, pool, size, scores)
    sort_rows(scores, pool, size)
    return size
