"""Scores: what every item is worth to a user at a moment, exactly, and why.

score = dense part + sparse part. The dense part is every item's own: popularity at six half-lives, the backbone's
query times the item's vector, the item's bias, its response rate where it was shown. The sparse part comes from the
memories and touches only the items that they hold. Both are sums in a fixed order, the same whether all items are
scored or some, so `score_some` gives the bits of `score_all`.

Parameters know the time at which they learned last (`mixing.clock`), and counts are decayed up to then: a model that
learns no more does not take silence for cold.

Kernels called for each item take the few arrays that they read: a call that hands over all the learners' arrays costs
a microsecond.

Stable for callers: score_all, score_some, has_taste, explain, explain_gathered.
"""

import numpy as np
from numba import njit

from online.recommendation.context import context_rows
from online.recommendation.layout import (
    CONTEXT_PLACES,
    DIMENSION,
    EXPERT_OF_FEATURE,
    F_AROUND,
    F_CONTEXT,
    F_CONTEXT_SITUATION,
    F_ITEM,
    F_NEXT_FAST,
    F_NEXT_SLOW,
    F_RESPONSE,
    F_TASTE,
    FEATURES,
    FIRST_SPARSE,
    POPULARITIES,
    RING,
    SPARSE,
    Learners,
)
from online.recommendation.memory import bring, share_of_one
from online.recommendation.mixing import set_weights, situation
from online.recommendation.popularity import FLOOR, HALF_LIVES_MS

LAGS = 6  # last items whose followers count
SHARE_SCALE = np.float32(200.0)  # a share of 1 / 200 adds one bit to a memory's feature
ZERO = np.float32(0.0)
ONE = np.float32(1.0)


@njit(cache=True)
def log2_plain(x: np.float32) -> np.float32:
    """log2 for x >= 1 to about 1e-5, out of exact operations: exponent by bits, mantissa by a series."""
    bits = np.float32(x).view(np.int32)
    n = (bits >> 23) - 127
    m = np.int32((bits & 0x007FFFFF) | 0x3F800000).view(np.float32)
    t = (m - np.float32(1.4142135)) / (m + np.float32(1.4142135))
    s = t * t
    p = t * (np.float32(2.8853901) + s * (np.float32(0.9617967) + s * np.float32(0.5770780)))
    return (np.float32(n) + np.float32(0.5)) + p


@njit(cache=True)
def gather(learners: Learners, user: int, at_ms: int, context: np.ndarray) -> int:
    """Bring up what the memories hold for this user and moment; the user's situation.

    Fills scratch: weights, context rows, touched items with their features and the sparse part of their scores.
    user: row or -1; context: u8 [CONTEXT_FEATURES] keys, 0 is none.
    """
    users, items, contexts = learners.users, learners.items, learners.contexts
    knobs, scratch = learners.knobs, learners.scratch
    mark, touched, feature = scratch.mark, scratch.touched, scratch.feature
    for at in range(scratch.used[0]):
        mark[touched[at]] = -1
    used = 0
    clock = learners.mixing.clock[0]
    now_ms = float(clock)
    for h in range(POPULARITIES):
        scratch.cooled[h] = clock / HALF_LIVES_MS[h] + FLOOR
    segment = situation(users.taken, users.ring_at_ms, user, at_ms, knobs.session_gap_ms)
    context_rows(contexts.key, context, segment, scratch.context_rows)
    set_weights(
        learners.mixing.weight, contexts.weight, scratch.context_rows, segment, scratch.weight_exact, scratch.weight
    )

    if user >= 0:
        taken = users.taken[user]
        for lag in range(min(taken, RING)):
            if lag >= LAGS and lag >= knobs.around_window:
                break
            last = users.ring[user, (taken - 1 - lag) % RING]
            if last < 0 or last >= mark.shape[0]:
                continue
            if lag < LAGS:
                f = F_NEXT_FAST - FIRST_SPARSE + min(lag, 2)
                one = share_of_one(
                    items.fast_total[last], items.fast_at_ms[last], now_ms, knobs.next_fast_ms, knobs.next_prior
                )
                used = bring(items.fast_item, items.fast_count, last, one, f, mark, touched, feature, used)
                f = F_NEXT_SLOW - FIRST_SPARSE + min(lag, 2)
                one = share_of_one(
                    items.slow_total[last], items.slow_at_ms[last], now_ms, knobs.next_slow_ms, knobs.next_prior
                )
                used = bring(items.slow_item, items.slow_count, last, one, f, mark, touched, feature, used)
            if lag < knobs.around_window:
                f = F_AROUND - FIRST_SPARSE
                one = share_of_one(
                    items.around_total[last], items.around_at_ms[last], now_ms, knobs.around_ms, knobs.around_prior
                )
                one /= 1.0 + knobs.around_fade * lag
                used = bring(items.around_item, items.around_count, last, one, f, mark, touched, feature, used)
    for both in range(2):
        for k in range(CONTEXT_PLACES):
            row = scratch.context_rows[both, k]
            if row >= 0:
                f = (F_CONTEXT if both == 0 else F_CONTEXT_SITUATION) - FIRST_SPARSE + k
                one = share_of_one(
                    contexts.total[row], contexts.at_ms[row], now_ms, knobs.context_ms, knobs.context_prior
                )
                used = bring(contexts.item, contexts.count, row, one, f, mark, touched, feature, used)
    scratch.used[0] = used
    _weigh(feature, scratch.weight, used, scratch.sparse)
    return segment


@njit(cache=True)
def _weigh(feature: np.ndarray, weight: np.ndarray, used: int, sparse: np.ndarray) -> None:
    """Turn the shares of the touched into features, in place, and their weighted sum into sparse."""
    for at in range(used):
        total = ZERO
        for f in range(SPARSE):
            share = feature[at, f]
            if share != ZERO:
                lift = log2_plain(ONE + share * SHARE_SCALE)
                feature[at, f] = lift
                total += weight[FIRST_SPARSE + f] * lift
        sparse[at] = total


@njit(cache=True)
def has_taste(learners: Learners, user: int) -> bool:
    """Whether the backbone says anything about this user."""
    if user < 0:
        return False
    query = learners.users.query
    for k in range(DIMENSION):
        if query[user, k] != ZERO:
            return True
    return False


@njit(cache=True)
def product(query: np.ndarray, user: int, vectors: np.ndarray, item: int, lanes: np.ndarray) -> np.float32:
    """query[user] . vectors[item] in sixteen running sums, added up as a tree: one order for everybody."""
    for l in range(16):
        lanes[l] = query[user, l] * vectors[item, l]
    for k in range(16, DIMENSION, 16):
        for l in range(16):
            lanes[l] += query[user, k + l] * vectors[item, k + l]
    for l in range(8):
        lanes[l] += lanes[l + 8]
    for l in range(4):
        lanes[l] += lanes[l + 4]
    total: np.float32 = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
    return total


@njit(cache=True)
def score_all(learners: Learners, user: int, at_ms: int, context: np.ndarray, count: int, scores: np.ndarray) -> None:
    """scores: f4 [>= count], set for items 0 … count - 1."""
    gather(learners, user, at_ms, context)
    scratch = learners.scratch
    _popular_all(learners.items.heat, scratch.cooled, scratch.weight, count, scores)
    if has_taste(learners, user):
        _taste_all(
            learners.users.query, user, learners.items.vector, scratch.weight[F_TASTE], count, scratch.lanes, scores
        )
    _item_all(
        learners.items.bias,
        learners.items.response,
        scratch.weight[F_RESPONSE],
        count,
        scores,
    )
    touched, sparse = scratch.touched, scratch.sparse
    for at in range(scratch.used[0]):
        if touched[at] < count:
            scores[touched[at]] += sparse[at]


@njit(cache=True)
def _popular_all(heat: np.ndarray, cooled: np.ndarray, weight: np.ndarray, count: int, scores: np.ndarray) -> None:
    """scores[i] = the popularity part, one pass; the same order of sums as in `score_one`."""
    h0, h1, h2, h3, h4, h5 = heat[0], heat[1], heat[2], heat[3], heat[4], heat[5]
    w0, w1, w2, w3, w4, w5 = weight[0], weight[1], weight[2], weight[3], weight[4], weight[5]
    c0, c1, c2, c3, c4, c5 = cooled[0], cooled[1], cooled[2], cooled[3], cooled[4], cooled[5]
    for i in range(count):
        total = w0 * max(np.float32(h0[i] - c0), ZERO)
        total += w1 * max(np.float32(h1[i] - c1), ZERO)
        total += w2 * max(np.float32(h2[i] - c2), ZERO)
        total += w3 * max(np.float32(h3[i] - c3), ZERO)
        total += w4 * max(np.float32(h4[i] - c4), ZERO)
        total += w5 * max(np.float32(h5[i] - c5), ZERO)
        scores[i] = total


@njit(cache=True)
def _taste_all(
    query: np.ndarray,
    user: int,
    vectors: np.ndarray,
    weight: np.float32,
    count: int,
    lanes: np.ndarray,
    scores: np.ndarray,
) -> None:
    for i in range(count):
        scores[i] += weight * product(query, user, vectors, i, lanes)


@njit(cache=True)
def _item_all(
    bias: np.ndarray,
    response: np.ndarray,
    weight: np.float32,
    count: int,
    scores: np.ndarray,
) -> None:
    for i in range(count):
        scores[i] = (scores[i] + bias[i]) + weight * response[i]


@njit(cache=True)
def score_one(
    heat: np.ndarray,
    cooled: np.ndarray,
    weight: np.ndarray,
    query: np.ndarray,
    user: int,
    tasteful: bool,
    vectors: np.ndarray,
    bias: np.float32,
    response: np.float32,
    item: int,
    lanes: np.ndarray,
) -> np.float32:
    """The dense part of one item's score."""
    total: np.float32 = weight[0] * max(np.float32(heat[0, item] - cooled[0]), ZERO)
    for h in range(1, POPULARITIES):
        total += weight[h] * max(np.float32(heat[h, item] - cooled[h]), ZERO)
    if tasteful:
        total += weight[F_TASTE] * product(query, user, vectors, item, lanes)
    total = (total + bias) + weight[F_RESPONSE] * response
    return total


@njit(cache=True)
def score_some(
    learners: Learners, user: int, at_ms: int, context: np.ndarray, rows: np.ndarray, scores: np.ndarray
) -> None:
    """scores[k] of the item rows[k], for all k: the bits of `score_all`."""
    gather(learners, user, at_ms, context)
    items, scratch, query = learners.items, learners.scratch, learners.users.query
    tasteful = has_taste(learners, user)
    for k in range(rows.shape[0]):
        item = rows[k]
        total = score_one(
            items.heat,
            scratch.cooled,
            scratch.weight,
            query,
            user,
            tasteful,
            items.vector,
            items.bias[item],
            items.response[item],
            item,
            scratch.lanes,
        )
        at = scratch.mark[item]
        scores[k] = total + scratch.sparse[at] if at >= 0 else total


@njit(cache=True)
def features_of(
    learners: Learners, user: int, rows: np.ndarray, count: int, tasteful: bool, lanes: np.ndarray, out: np.ndarray
) -> None:
    """out: f4 [count, FEATURES] of items rows[:count], after `gather`."""
    items, scratch = learners.items, learners.scratch
    query = learners.users.query
    for c in range(count):
        item = rows[c]
        for h in range(POPULARITIES):
            out[c, h] = max(np.float32(items.heat[h, item] - scratch.cooled[h]), ZERO)
        out[c, F_TASTE] = product(query, user, items.vector, item, lanes) if tasteful else ZERO
        out[c, F_ITEM] = items.bias[item]
        out[c, F_RESPONSE] = items.response[item]
        at = scratch.mark[item]
        for f in range(SPARSE):
            out[c, FIRST_SPARSE + f] = scratch.feature[at, f] if at >= 0 else ZERO


@njit(cache=True)
def explain_gathered(
    learners: Learners,
    user: int,
    item: int,
    tasteful: bool,
    lanes: np.ndarray,
    features: np.ndarray,
    terms: np.ndarray,
) -> None:
    """terms: f4 [EXPERTS], what each expert adds to the item's score, after `gather`; their sum is the score but for
    rounding. features: f4 [FEATURES], lanes: f4 [16], room to work in."""
    row = np.array([item])
    features_of(learners, user, row, 1, tasteful, lanes, features.reshape(1, FEATURES))
    for e in range(terms.shape[0]):
        terms[e] = ZERO
    for f in range(FEATURES):
        weight = ONE if f == F_ITEM else learners.scratch.weight[f]
        terms[EXPERT_OF_FEATURE[f]] += weight * features[f]


@njit(cache=True)
def explain(learners: Learners, user: int, at_ms: int, context: np.ndarray, item: int, terms: np.ndarray) -> None:
    """As `explain_gathered`, for one item asked about by itself."""
    gather(learners, user, at_ms, context)
    features = np.empty(FEATURES, np.float32)
    explain_gathered(learners, user, item, has_taste(learners, user), np.empty(16, np.float32), features, terms)
