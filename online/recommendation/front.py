"""The items that everybody's candidates have in common: the most popular of each half-life, and the newest.

What a first look reads about them is the same whoever asks, as long as the state stands still. It is gathered into
columns once for a version of the state; a decision reads the columns in order, and adds what depends on the user.
"""

from typing import NamedTuple

import numpy as np

from online.compiling import kernel
from online.recommendation.availability import Open
from online.recommendation.codes import agreement
from online.recommendation.kinds import kinship_of
from online.recommendation.layout import (
    F_AGE,
    F_MIXTURE,
    F_RESPONSE,
    KINDS,
    NEWEST,
    POPULARITIES,
    TOP,
    Learners,
)
from online.recommendation.logarithm import log2_plain
from online.recommendation.score import AGE_SCALE, FLOOR, LN2, add_memories, age_of, bits_of
from online.tables import Array

FRONT_MAX = POPULARITIES * TOP + NEWEST
ANEW = -1  # a version that is never kept: the columns are gathered again
ZERO = np.float32(0.0)
ONE = np.float32(1.0)


class Front(NamedTuple):
    """Columns of the items in front, and room to work in. Made of one state; no part of it."""

    version: Array  # i8 [1] of the state that the columns were made of
    used: Array  # i8 [1] columns
    column: Array  # i4 [items] where an item stands, -1
    row: Array  # i4 [FRONT_MAX]
    since_ms: Array  # i8 [FRONT_MAX] for sale from
    until_ms: Array  # i8 [FRONT_MAX] and until, exclusive
    kind: Array  # i4 [FRONT_MAX, KINDS]
    heat: Array  # f4 [POPULARITIES, FRONT_MAX]
    bits: Array  # f4 [POPULARITIES, FRONT_MAX] the feature of each
    response: Array  # f4 [FRONT_MAX]
    age: Array  # f4 [FRONT_MAX] the feature
    bias: Array  # f4 [FRONT_MAX]
    mixture: Array  # f4 [FRONT_MAX] of one decision
    value: Array  # f4 [FRONT_MAX] likewise


def empty_front(items: int) -> Front:
    """A front of no version, for a state with room for so many items."""
    f4, i4, i8 = np.float32, np.int32, np.int64
    return Front(
        version=np.full(1, ANEW, i8),
        used=np.zeros(1, i8),
        column=np.full(items, -1, i4),
        row=np.full(FRONT_MAX, -1, i4),
        since_ms=np.zeros(FRONT_MAX, i8),
        until_ms=np.zeros(FRONT_MAX, i8),
        kind=np.full((FRONT_MAX, KINDS), -1, i4),
        heat=np.zeros((POPULARITIES, FRONT_MAX), f4),
        bits=np.zeros((POPULARITIES, FRONT_MAX), f4),
        response=np.zeros(FRONT_MAX, f4),
        age=np.zeros(FRONT_MAX, f4),
        bias=np.zeros(FRONT_MAX, f4),
        mixture=np.zeros(FRONT_MAX, f4),
        value=np.zeros(FRONT_MAX, f4),
    )


@kernel
def gather_front(front: Front, learners: Learners, rows: Open, count: int, version: int) -> None:
    """Bring the columns up to a version of the state; ANEW: whatever they are made of. After `gather`."""
    if version != ANEW and front.version[0] == version:
        return
    column, row = front.column, front.row
    for c in range(front.used[0]):
        column[row[c]] = -1
    top, newest = learners.mixing.top, learners.mixing.newest
    used = 0
    for h in range(POPULARITIES):
        used = _take(front, rows, top[h], count, used)
    used = _take(front, rows, newest, count, used)
    front.used[0] = used
    front.version[0] = version

    items, popular = learners.items, learners.scratch.popular
    heat, bits = front.heat, front.bits
    now_ms = float(learners.mixing.clock[0])
    for c in range(used):
        item = row[c]
        for h in range(POPULARITIES):
            heat[h, c] = items.heat[item, h]
        front.response[c] = items.response[item]
        front.bias[c] = items.bias[item]
        front.age[c] = age_of(items.since_ms[item], now_ms)
        for k in range(KINDS):
            front.kind[c, k] = items.kind[item, k]
    for h in range(POPULARITIES):
        for c in range(used):
            bits[h, c] = bits_of(heat[h, c] * popular[h])
    for c in range(used):
        front.age[c] = AGE_SCALE * log2_plain(front.age[c])


@kernel
def _take(front: Front, rows: Open, listed: np.ndarray, count: int, used: int) -> int:
    """Give a column to each listed item that is there and has none yet; how many there are by now."""
    key, scored_key = rows.key, rows.scored_key
    since, until = rows.catalogue.available_from_ms, rows.catalogue.available_until_ms
    for k in range(listed.shape[0]):
        row = listed[k]
        if 0 <= row < count and front.column[row] < 0 and key[row] != 0 and key[row] == scored_key[row]:
            front.column[row] = used
            front.row[used] = row
            front.since_ms[used], front.until_ms[used] = since[row], until[row]
            used += 1
    return used


@kernel
def look_at_front(front: Front, learners: Learners, by_taste: np.float32) -> None:
    """Set the value of every column: what `first_look` gives, sum by sum. After `gather` and `gather_front`."""
    items, scratch, used = learners.items, learners.scratch, front.used[0]
    row, kind, heat, bits, value, mixture = front.row, front.kind, front.heat, front.bits, front.value, front.mixture
    response, age, bias = front.response, front.age, front.bias
    weight, trust = scratch.weight, scratch.trust
    kinship, by_kin, by_response = scratch.kinship, scratch.kin[0], weight[F_RESPONSE]
    by_age, by_mixture = weight[F_AGE], weight[F_MIXTURE] * LN2
    for c in range(used):
        value[c] = by_response * response[c]
        mixture[c] = ZERO
    if learners.kinds.known[0] > 0:
        for c in range(used):
            value[c] += by_kin * kinship_of(kinship, kind, c)
    for h in range(POPULARITIES):
        by, trusted = weight[h], trust[h] * scratch.popular[h]
        for c in range(used):
            mixture[c] += trusted * heat[h, c]
            value[c] += by * bits[h, c]
    add_memories(scratch, row, used, mixture, value)
    for c in range(used):
        value[c] += by_age * age[c]
        value[c] += by_mixture * log2_plain(ONE + mixture[c] * FLOOR)
    if by_taste != ZERO:
        code, code_step, query = items.code, items.code_step, scratch.query_code[0]
        for c in range(used):
            value[c] += (by_taste * code_step[row[c]]) * np.float32(agreement(query, code, row[c]))
    for c in range(used):
        value[c] += bias[c]


@kernel
def keep_open_front(
    front: Front, stamps: np.ndarray, stamp: int, at_ms: int, listed: np.ndarray, values: np.ndarray
) -> int:
    """The columns for sale at `at_ms` and not excluded (those that hold `stamp`; -1: none is) into listed, their
    values into values; how many."""
    row, since, until, value = front.row, front.since_ms, front.until_ms, front.value
    kept = 0
    for c in range(front.used[0]):
        if since[c] <= at_ms < until[c] and (stamp < 0 or stamps[row[c]] != stamp):
            listed[kept], values[kept] = row[c], value[c]
            kept += 1
    return kept
