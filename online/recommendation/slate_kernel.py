"""The kernel of a decision: candidates → ranking → rules → exploration → slate, with its largest reasons."""

from typing import Any, NamedTuple

import numpy as np

from online.compiling import counting_kernel, kernel
from online.recommendation.availability import Open
from online.recommendation.front import Front
from online.recommendation.layout import EXPERTS, Learners
from online.recommendation.ranking import rank
from online.recommendation.score import explain_few
from online.recommendation.slate import pick_slate
from online.rows import Rows, find_row


@kernel
def _largest(terms: Any, because: Any) -> None:
    """The terms of the largest size, the largest first; among equals the lower number. They leave `terms`."""
    for t in range(because.shape[0]):
        largest = 0
        for e in range(1, terms.shape[0]):
            if abs(terms[e]) > abs(terms[largest]):
                largest = e
        because[t].expert = largest
        because[t].part = terms[largest]
        terms[largest] = np.float32(0.0)


class Shown(NamedTuple):
    """What a decision is written into; room for SLATE_MAX positions. And room to work in."""

    rows: Any  # i8 [positions]
    keys: Any  # u8 [positions] of the items
    scores: Any  # f4 [positions]
    propensities: Any  # f4 [positions]
    because: Any  # records.TERM [positions, terms kept]
    pool: Any  # i8 [CANDIDATES_MAX]


class Asked(NamedTuple):
    """What decisions ask for beside the names in them, and by which settings they are made."""

    context: Any  # u8 [CONTEXT_FEATURES_MAX] keys, 0 is none; overwritten from one to the next
    caps: Any  # i8 [caps]
    exploration: float
    seed: np.uint64


class Sight(NamedTuple):
    """What a decision is made from: the state at one position, and learners over it, live or the champion's; what is
    asked, and where to write what is shown."""

    users: Rows
    items: Rows
    learners: Learners
    open: Open
    front: Front
    scores: Any  # f4 [rows of items], room to work in
    asked: Asked
    shown: Shown


@counting_kernel
def decide_slate(
    sight: Any,
    version: int,
    user: np.uint64,
    at_ms: int,
    candidates: Any,
    restricted: bool,
    exclude: Any,
    n: int,
    decision: np.uint64,
    most: int,
) -> int:
    """Fill what is shown; how many positions are filled.

    sight: a Sight, held (`online.held`). version: of the state in sight, ANEW where it has none. candidates, exclude:
    u8 keys. most: items to score exactly.
    """
    given = np.empty(candidates.shape[0], np.int64)
    terms = np.empty((n, len(EXPERTS)), np.float32)
    return _decide(sight.value, version, user, at_ms, candidates, restricted, exclude, n, decision, most, given, terms)


@kernel
def _decide(
    sight: Any,
    version: int,
    user: np.uint64,
    at_ms: int,
    candidates: Any,
    restricted: bool,
    exclude: Any,
    n: int,
    decision: np.uint64,
    most: int,
    given: Any,
    terms: Any,
) -> int:
    """given: i8 [candidates] and terms: f4 [n, EXPERTS], room to work in."""
    users, items, learners, rows, front, scores, asked, out = sight
    context, caps, exploration, seed = asked
    pool = out.pool
    count = min(items.handed_out[0], rows.scored_key.shape[0])
    user_row = find_row(users, user)
    scratch = learners.scratch
    scratch.stamps[0] += 1
    stamp = scratch.stamps[0]
    for k in range(exclude.shape[0]):
        row = find_row(items, exclude[k])
        if 0 <= row < count:
            rows.stamps[row] = stamp
    for k in range(candidates.shape[0]):
        given[k] = find_row(items, candidates[k])
        if 0 <= given[k] < count and scratch.seen[given[k]] == stamp:
            given[k] = -1  # named twice
        if 0 <= given[k] < count:
            scratch.seen[given[k]] = stamp
    excluded = stamp if exclude.shape[0] > 0 else -1
    pooled = rank(
        learners,
        rows,
        front,
        version,
        excluded,
        given,
        restricted,
        user_row,
        at_ms,
        context,
        count,
        scores,
        pool,
        most,
    )
    filled = pick_slate(
        scores, pool, pooled, rows.catalogue, caps, n, exploration, seed, decision, out.rows, out.propensities
    )
    explain_few(learners, out.rows, filled, terms)
    for k in range(filled):
        out.keys[k] = items.key[out.rows[k]]
        out.scores[k] = scores[out.rows[k]]
        _largest(terms[k], out.because[k])
    return filled
