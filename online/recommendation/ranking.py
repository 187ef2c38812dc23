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
from online.recommendation.codes import agreement, encode
from online.recommendation.layout import F_TASTE, POPULARITIES, TOP, Learners
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
def is_open(rows: Open, row: int, at_ms: int, stamp: int) -> bool:
    """Whether the item in `row` is there, for sale at `at_ms`, and not excluded."""
    return (
        rows.stamps[row] != stamp
        and rows.key[row] != 0
        and rows.key[row] == rows.scored_key[row]
        and rows.catalogue.available_from_ms[row] <= at_ms
        and at_ms < rows.catalogue.available_until_ms[row]
    )


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
def _listed(
    learners: Learners, rows: Open, stamp: int, user: int, at_ms: int, tasteful: bool, count: int, scores: np.ndarray
) -> int:
    """The experts' best open items among rows 0 … count - 1, each once, into scratch.listed; how many. After `gather`.

    Popular and new items are listed open or not: there are few of them.
    """
    items, mixing, scratch = learners.items, learners.mixing, learners.scratch
    listed, seen = scratch.listed, scratch.seen
    scratch.stamps[0] += 1
    now = scratch.stamps[0]
    size = 0
    for at in range(scratch.used[0]):
        row = scratch.touched[at]
        if row < count and is_open(rows, row, at_ms, stamp):
            scores[row] = scratch.sparse[at]
            size = offer(scores, listed, FROM_MEMORY, size, row)
    for at in range(size):
        seen[listed[at]] = now
    for h in range(POPULARITIES):
        for k in range(TOP):
            row = mixing.top[h, k]
            if 0 <= row < count and seen[row] != now:
                seen[row] = now
                listed[size] = row
                size += 1
    for k in range(mixing.newest.shape[0]):
        row = mixing.newest[k]
        if 0 <= row < count and seen[row] != now:
            seen[row] = now
            listed[size] = row
            size += 1
    if not tasteful:
        return size
    cells = learners.cells
    query, tasted = learners.users.query[user], scratch.tasted
    many = 0
    for at in range(probed(cells.centre, query, scratch.near, scratch.nearest)):
        cell = scratch.nearest[at]
        for place in range(cells.start[cell], cells.start[cell + 1]):
            row = cells.row[place]
            if row < count and seen[row] != now and is_open(rows, row, at_ms, stamp):
                scores[row] = items.code_step[row] * np.float32(agreement(scratch.query_code[0], items.code[row]))
                many = offer(scores, tasted, FROM_TASTE, many, row)
    for at in range(many):
        listed[size] = tasted[at]
        size += 1
    return size


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
    size = 0
    if restricted:
        for k in range(given.shape[0]):
            row = given[k]
            if 0 <= row < count and is_open(rows, row, at_ms, stamp):
                scores[row] = first_look(learners, row, by_taste)
                size = offer(scores, pool, most, size, row)
    elif count > ALL_UP_TO:
        for k in range(_listed(learners, rows, stamp, user, at_ms, tasteful, count, scores)):
            row = scratch.listed[k]
            if is_open(rows, row, at_ms, stamp):
                scores[row] = first_look(learners, row, by_taste)
                size = offer(scores, pool, most, size, row)
    if size < most and not restricted:
        size = 0
        for row in range(count):
            if is_open(rows, row, at_ms, stamp):
                scores[row] = first_look(learners, row, by_taste)
                size = offer(scores, pool, most, size, row)
    score_few(learners, user, pool, size, scores)
    sort_rows(scores, pool, size)
    return size
