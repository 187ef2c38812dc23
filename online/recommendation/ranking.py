"""Ranking: candidates out of every expert's best, a first look at them, then the few best exactly.

What a slate is picked from, and what a replay ranks. The candidates are the best of what the memories hold, the lists
of the most popular, the newest items, and the items whose codes agree most with the user's query, out of the cells that
it points to: a few hundred, however large the catalogue. Where they are too few, or the catalogue is small, all items
are candidates; where the request names its own, those are.
"""

import numpy as np

from online.compiling import kernel
from online.recommendation.availability import Open, keep_known, keep_open
from online.recommendation.cells import probed
from online.recommendation.codes import agreement, encode
from online.recommendation.front import Front, gather_front, keep_open_front, look_at_front
from online.recommendation.layout import F_TASTE, CellArrays, Learners, Scratch
from online.recommendation.score import first_look, gather, has_taste, score_few

SHORTLIST = 64  # items that are scored exactly, at least
BEYOND = 24  # more of them than a slate has positions
ALL_UP_TO = 768  # items: below, all are candidates
FROM_MEMORY = 128
FROM_MEMORY_MIN = 96
FROM_MEMORY_MAX = 512
FROM_TASTE = 64
FINITE = np.float32(3e38)
LAST_ROW = np.uint64(0xFFFFFFFF)


@kernel
def order_key(score: np.float32, row: int) -> np.uint64:
    """A number that is larger for the better item: by its score, of equals the lower row."""
    bits = np.float32(score + np.float32(0.0)).view(np.int32)  # -0 becomes 0
    rising = np.int64(bits ^ ((bits >> 31) & 0x7FFFFFFF)) + 0x80000000
    return (np.uint64(rising) << np.uint64(32)) | (LAST_ROW - np.uint64(row))


@kernel
def row_of(key: np.uint64) -> np.int64:
    """The row in an `order_key`."""
    return np.int64(LAST_ROW - (key & LAST_ROW))


@kernel
def keep_best(values: np.ndarray, listed: np.ndarray, size: int, keys: np.ndarray, held: int, most: int) -> int:
    """Put the rows listed[:size], worth values[:size], among keys[:held] and keep the best `most`, in the order in
    which they came; how many are held then.

    keys: u8 [> most]. A value that is no number, or infinite, never decides anything.
    """
    least = np.uint64(0)
    for k in range(size):
        if not -FINITE < values[k] < FINITE:
            continue
        key = order_key(values[k], listed[k])
        if key < least:
            continue
        keys[held] = key
        held += 1
        if held == keys.shape[0]:
            held, least = _cut(keys, held, most)
    if held > most:
        held, least = _cut(keys, held, most)
    return held


@kernel
def _cut(keys: np.ndarray, held: int, most: int) -> tuple[int, np.uint64]:
    """Keep the `most` largest of keys[:held], which all differ, in their order; how many, and the least that counts.

    The least one is found by halving: how many are as large is counted without a branch, many at a time.
    """
    low, high = keys[0], keys[0]
    for k in range(held):
        low, high = min(low, keys[k]), max(high, keys[k])
    while low < high:  # at least `most` are >= low, fewer are > high
        middle = high - ((high - low) >> np.uint64(1))
        many = 0
        for k in range(held):
            many += 1 if keys[k] >= middle else 0
        if many == most:
            low = middle
            break
        if many > most:
            low = middle
        else:
            high = middle - np.uint64(1)
    kept = 0
    for k in range(held):
        if keys[k] >= low and kept < most:
            keys[kept] = keys[k]
            kept += 1
    return kept, low


@kernel
def rows_of(keys: np.ndarray, size: int, rows: np.ndarray) -> None:
    """rows[:size] of keys[:size], in their order."""
    for k in range(size):
        rows[k] = row_of(keys[k])


@kernel
def sort_rows(scores: np.ndarray, pool: np.ndarray, size: int, keys: np.ndarray) -> int:
    """Put pool[:size] in order of its scores, best first, in place, those without a finite one left out; how many."""
    kept = 0
    for k in range(size):
        if -FINITE < scores[pool[k]] < FINITE:
            keys[kept] = order_key(scores[pool[k]], pool[k])
            kept += 1
    for k in range(1, kept):
        key, at = keys[k], k
        while at > 0 and keys[at - 1] < key:
            keys[at] = keys[at - 1]
            at -= 1
        keys[at] = key
    for k in range(kept):
        pool[k] = row_of(keys[k])
    return kept


@kernel
def _remembered(scratch: Scratch, rows: Open, stamp: int, at_ms: int, count: int) -> int:
    """The open ones of the best that the memories brought up, into scratch.listed; how many."""
    used, kept = scratch.used[0], 0
    for most in (FROM_MEMORY, FROM_MEMORY_MAX):  # many of the best are closed where much is excluded
        held = keep_best(scratch.sparse, scratch.touched, used, scratch.keys, 0, most)
        rows_of(scratch.keys, held, scratch.listed)
        kept = keep_open(rows, scratch.listed, held, count, at_ms, stamp)
        if held == used or kept >= FROM_MEMORY_MIN:
            break
    return kept


@kernel
def _tasted(
    cells: CellArrays,
    scratch: Scratch,
    rows: Open,
    stamp: int,
    at_ms: int,
    queries: np.ndarray,
    user: int,
    code: np.ndarray,
    step: np.ndarray,
    count: int,
) -> int:
    """Of the open items in the cells that the query points to, those whose codes agree best, into scratch.keys; how
    many."""
    found, value, query = scratch.found, scratch.value, scratch.query_code[0]
    start, members = cells.start, cells.row
    size = 0
    for at in range(probed(cells.centre, queries, user, scratch.lanes, scratch.near, scratch.nearest)):
        cell = scratch.nearest[at]
        for place in range(start[cell], start[cell + 1]):
            if size < found.shape[0]:
                found[size] = members[place]
                size += 1
    size = keep_open(rows, found, size, count, at_ms, stamp)
    for k in range(size):
        value[k] = step[found[k]] * np.float32(agreement(query, code, found[k]))
    return keep_best(value, found, size, scratch.keys, 0, FROM_TASTE)


@kernel
def _listed(
    learners: Learners, rows: Open, column: np.ndarray, stamp: int, user: int, at_ms: int, tasteful: bool, count: int
) -> int:
    """The best open items of the memories and of the taste among rows 0 … count - 1 that have no column in front, each
    once, into scratch.listed; how many."""
    items, scratch = learners.items, learners.scratch
    listed, seen, keys = scratch.listed, scratch.seen, scratch.keys
    scratch.stamps[0] += 1
    now = scratch.stamps[0]
    size = 0
    for at in range(_remembered(scratch, rows, stamp, at_ms, count)):
        row = listed[at]
        if column[row] < 0:
            seen[row] = now
            listed[size] = row
            size += 1
    if tasteful:
        query = learners.users.query
        best = _tasted(learners.cells, scratch, rows, stamp, at_ms, query, user, items.code, items.code_step, count)
        for at in range(best):
            row = row_of(keys[at])
            if seen[row] != now and column[row] < 0:
                seen[row] = now
                listed[size] = row
                size += 1
    return size


@kernel
def rank(
    learners: Learners,
    rows: Open,
    front: Front,
    version: int,
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

    front, version: columns of a version of the state, gathered anew if it is another; ANEW: anyhow. stamp: what the
    excluded rows hold; -1: none is. given: rows (-1 is unknown) that are the only candidates if `restricted`. user:
    row or -1; context: u8 [CONTEXT_FEATURES]; scores: f4 [>= count], set for the rows in pool; most: up to
    CANDIDATES_MAX.
    """
    gather(learners, user, at_ms, context)
    scratch = learners.scratch
    tasteful = has_taste(learners, user)
    by_taste = np.float32(0.0)
    if tasteful:
        encode(learners.users.query, user, scratch.query_code, scratch.query_step, 0)
        by_taste = scratch.weight[F_TASTE] * scratch.query_step[0]
    listed, value, keys = scratch.listed, scratch.value, scratch.keys
    size = 0
    if not restricted and count > ALL_UP_TO:
        gather_front(front, learners, rows, count, version)
        many = _listed(learners, rows, front.column, stamp, user, at_ms, tasteful, count)
        first_look(learners, listed, many, by_taste, value)
        size = keep_best(value, listed, many, keys, 0, most)
        look_at_front(front, learners, by_taste)
        many = keep_open_front(front, rows.stamps, stamp, at_ms, listed, value)
        size = keep_best(value, listed, many, keys, size, most)
    if size < most:
        # The request's own candidates, or all items, a listful at a time.
        size = 0
        whole = given.shape[0] if restricted else count
        for start in range(0, whole, listed.shape[0]):
            many = min(listed.shape[0], whole - start)
            for k in range(many):
                listed[k] = given[start + k] if restricted else start + k
            many = keep_open(rows, listed, many, count, at_ms, stamp)
            if not restricted:
                many = keep_known(rows, learners.items, listed, many)
            first_look(learners, listed, many, by_taste, value)
            size = keep_best(value, listed, many, keys, size, most)
    rows_of(keys, size, pool)
    score_few(learners, user, pool, size, scores)
    return int(sort_rows(scores, pool, size, keys))
