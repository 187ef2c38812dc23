"""Scores: what every item is worth to a user at a moment, exactly, and why.

score = dense part + sparse part. The dense part is every item's own: popularity at six half-lives, the backbone's
query times the item's vector, the item's bias, its response rate where it was shown. The sparse part comes from the
memories and touches only the items that they hold. Both are sums in a fixed order, the same whether all items are
scored or some, so `score_some` gives the bits of `score_all`.

Parameters know the time at which they learned last (`mixing.clock`), and counts are decayed up to then: a model that
learns no more does not take silence for cold.

Stable for callers: score_all, score_some, explain, shortlist.
"""

import numpy as np
from numba import njit

from online.recommendation.context import context_rows
from online.recommendation.layout import (
    CONTEXT_FEATURES,
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
    TOUCHED_MAX,
    ItemArrays,
    Learners,
    MixingArrays,
)
from online.recommendation.memory import fraction_left
from online.recommendation.mixing import set_weights, situation
from online.recommendation.popularity import FLOOR, HALF_LIVES_MS, expected_share

LAGS = 6  # last items whose followers count
LEAST_COUNT = np.float32(1e-3)
RESPONSE_SHRINKAGE = np.float32(20.0)
ZERO = np.float32(0.0)


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
def _place(learners: Learners, item: int) -> int:
    """The item's place among the touched; -1 where there is no room."""
    scratch = learners.scratch
    at = scratch.mark[item]
    if at < 0:
        at = scratch.used[0]
        if at == TOUCHED_MAX:
            return -1
        scratch.used[0] = at + 1
        scratch.mark[item] = at
        scratch.touched[at] = item
        scratch.odds[at] = 1.0 / expected_share(learners.items, learners.mixing, item)
        for f in range(SPARSE):
            scratch.feature[at, f] = ZERO
    return at


@njit(cache=True)
def _bring(learners: Learners, slot_items: np.ndarray, slot_counts: np.ndarray, left: float, feature: int) -> None:
    """Add the counts of a row of slots, times `left`, to a feature of the items that it holds."""
    scratch = learners.scratch
    items = scratch.mark.shape[0]
    f = feature - FIRST_SPARSE
    for s in range(slot_items.shape[0]):
        item = slot_items[s]
        if item < 0 or item >= items:
            continue
        count = slot_counts[s] * np.float32(left)
        if count < LEAST_COUNT:
            continue
        at = _place(learners, item)
        if at >= 0:
            scratch.feature[at, f] += count


@njit(cache=True)
def _bring_shares(
    learners: Learners, slot_items: np.ndarray, slot_counts: np.ndarray, left: float, prior: float, weight: float
) -> None:
    """Add the shares of a row's items, shrunk by `prior` and times `weight`, to the feature of what is near."""
    total = 0.0
    for s in range(slot_items.shape[0]):
        if slot_items[s] >= 0:
            total += float(slot_counts[s])
    _bring(learners, slot_items, slot_counts, left * weight / (total * left + prior), F_AROUND)


@njit(cache=True)
def gather(learners: Learners, user: int, at_ms: int, context: np.ndarray) -> int:
    """Bring up what the memories hold for this user and moment; the user's situation.

    Fills scratch: weights, context rows, touched items with their features and the sparse part of their scores.
    user: row or -1; context: u8 [CONTEXT_FEATURES] keys, 0 is none.
    """
    scratch, users, items, contexts = learners.scratch, learners.users, learners.items, learners.contexts
    knobs = learners.knobs
    for at in range(scratch.used[0]):
        scratch.mark[scratch.touched[at]] = -1
    scratch.used[0] = 0
    now_ms = float(learners.mixing.clock[0])
    segment = situation(users, user, at_ms, knobs.session_gap_ms)
    context_rows(contexts, context, segment, scratch.context_rows)
    set_weights(learners.mixing, contexts, segment, scratch)

    if user >= 0:
        taken = users.taken[user]
        for lag in range(min(taken, RING)):
            if lag >= LAGS and lag >= knobs.around_window:
                break
            last = users.ring[user, (taken - 1 - lag) % RING]
            if last < 0 or last >= scratch.mark.shape[0]:
                continue
            if lag < LAGS:
                left = fraction_left(items.memory_at_ms[last, 0], now_ms, knobs.next_fast_ms)
                _bring(learners, items.fast_item[last], items.fast_count[last], left, F_NEXT_FAST + min(lag, 2))
                left = fraction_left(items.memory_at_ms[last, 1], now_ms, knobs.next_slow_ms)
                _bring(learners, items.slow_item[last], items.slow_count[last], left, F_NEXT_SLOW + min(lag, 2))
            if lag < knobs.around_window:
                left = fraction_left(items.memory_at_ms[last, 2], now_ms, knobs.around_ms)
                _bring_shares(
                    learners,
                    items.around_item[last],
                    items.around_count[last],
                    left,
                    knobs.around_prior,
                    1.0 / (1.0 + 0.3 * lag),
                )
    for both in range(2):
        for k in range(CONTEXT_FEATURES):
            row = scratch.context_rows[both, k]
            if row >= 0:
                left = fraction_left(contexts.at_ms[row], now_ms, knobs.context_ms)
                feature = (F_CONTEXT if both == 0 else F_CONTEXT_SITUATION) + k
                _bring(learners, contexts.item[row], contexts.count[row], left, feature)

    next_scale = np.float32(1.0 / knobs.next_prior)
    context_scale = np.float32(1.0 / knobs.context_prior)
    for at in range(scratch.used[0]):
        odds = scratch.odds[at]
        total = ZERO
        for f in range(SPARSE):
            count = scratch.feature[at, f]
            if count != ZERO:
                scale = odds
                if f < F_AROUND - FIRST_SPARSE:
                    scale = odds * next_scale
                elif f > F_AROUND - FIRST_SPARSE:
                    scale = odds * context_scale
                lift = log2_plain(np.float32(1.0) + count * scale)
                scratch.feature[at, f] = lift
                total += scratch.weight[FIRST_SPARSE + f] * lift
        scratch.sparse[at] = total
    return segment


@njit(cache=True)
def has_taste(learners: Learners, user: int) -> bool:
    """Whether the backbone says anything about this user."""
    if user < 0:
        return False
    for k in range(DIMENSION):
        if learners.users.query[user, k] != ZERO:
            return True
    return False


@njit(cache=True)
def product(query: np.ndarray, vectors: np.ndarray, item: int, lanes: np.ndarray) -> np.float32:
    """query . vectors[item] in sixteen running sums, added up as a tree: one order for everybody."""
    for l in range(16):
        lanes[l] = query[l] * vectors[item, l]
    for k in range(16, DIMENSION, 16):
        for l in range(16):
            lanes[l] += query[k + l] * vectors[item, k + l]
    for l in range(8):
        lanes[l] += lanes[l + 8]
    for l in range(4):
        lanes[l] += lanes[l + 4]
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])


@njit(cache=True)
def popularity_feature(items: ItemArrays, mixing: MixingArrays, h: int, item: int) -> np.float32:
    """log2 of the item's decayed count above FLOOR, at least 0."""
    return max(np.float32(items.heat[h, item] - (mixing.clock[0] / HALF_LIVES_MS[h] + FLOOR)), ZERO)


@njit(cache=True)
def response_feature(items: ItemArrays, mixing: MixingArrays, item: int) -> np.float32:
    """How much better than the mean the item did where it was shown, shrunk to 0 by few impressions."""
    expected = items.shown[item] * np.float32(mixing.response[0])
    return (items.reward[item] - expected) / (items.shown[item] + RESPONSE_SHRINKAGE)


@njit(cache=True)
def _rest(
    learners: Learners, user: int, item: int, tasteful: bool, lanes: np.ndarray, popular: np.float32
) -> np.float32:
    """The dense part, its popularity being known."""
    weight = learners.scratch.weight
    total = popular
    if tasteful:
        total += weight[F_TASTE] * product(learners.users.query[user], learners.items.vector, item, lanes)
    total += learners.items.bias[item]
    total += weight[F_RESPONSE] * response_feature(learners.items, learners.mixing, item)
    return total


@njit(cache=True)
def _popular_all(learners: Learners, count: int, scores: np.ndarray) -> None:
    """scores[i] = the popularity part, one pass; the same order of sums as in `score_some`."""
    heat, weight, clock = learners.items.heat, learners.scratch.weight, learners.mixing.clock[0]
    h0, h1, h2, h3, h4, h5 = heat[0], heat[1], heat[2], heat[3], heat[4], heat[5]
    w0, w1, w2, w3, w4, w5 = weight[0], weight[1], weight[2], weight[3], weight[4], weight[5]
    c0, c1, c2 = clock / HALF_LIVES_MS[0] + FLOOR, clock / HALF_LIVES_MS[1] + FLOOR, clock / HALF_LIVES_MS[2] + FLOOR
    c3, c4, c5 = clock / HALF_LIVES_MS[3] + FLOOR, clock / HALF_LIVES_MS[4] + FLOOR, clock / HALF_LIVES_MS[5] + FLOOR
    for i in range(count):
        total = w0 * max(np.float32(h0[i] - c0), ZERO)
        total += w1 * max(np.float32(h1[i] - c1), ZERO)
        total += w2 * max(np.float32(h2[i] - c2), ZERO)
        total += w3 * max(np.float32(h3[i] - c3), ZERO)
        total += w4 * max(np.float32(h4[i] - c4), ZERO)
        total += w5 * max(np.float32(h5[i] - c5), ZERO)
        scores[i] = total


@njit(cache=True)
def score_all(learners: Learners, user: int, at_ms: int, context: np.ndarray, count: int, scores: np.ndarray) -> None:
    """scores: f4 [>= count], set for items 0 … count - 1."""
    gather(learners, user, at_ms, context)
    scratch = learners.scratch
    _popular_all(learners, count, scores)
    tasteful = has_taste(learners, user)
    lanes = np.empty(16, np.float32)
    for item in range(count):
        scores[item] = _rest(learners, user, item, tasteful, lanes, scores[item])
    for at in range(scratch.used[0]):
        item = scratch.touched[at]
        if item < count:
            scores[item] += scratch.sparse[at]


@njit(cache=True)
def dense_score(learners: Learners, user: int, item: int, tasteful: bool, lanes: np.ndarray) -> np.float32:
    """One item's dense part, after `gather`."""
    weight = learners.scratch.weight
    popular = weight[0] * popularity_feature(learners.items, learners.mixing, 0, item)
    for h in range(1, POPULARITIES):
        popular += weight[h] * popularity_feature(learners.items, learners.mixing, h, item)
    return _rest(learners, user, item, tasteful, lanes, popular)


@njit(cache=True)
def score_some(
    learners: Learners, user: int, at_ms: int, context: np.ndarray, rows: np.ndarray, scores: np.ndarray
) -> None:
    """scores[k] of the item rows[k], for all k: the bits of `score_all`."""
    gather(learners, user, at_ms, context)
    tasteful = has_taste(learners, user)
    lanes = np.empty(16, np.float32)
    for k in range(rows.shape[0]):
        scores[k] = dense_score(learners, user, rows[k], tasteful, lanes)
        at = learners.scratch.mark[rows[k]]
        if at >= 0:
            scores[k] += learners.scratch.sparse[at]


@njit(cache=True)
def features_of(learners: Learners, user: int, item: int, tasteful: bool, lanes: np.ndarray, out: np.ndarray) -> None:
    """out: f4 [FEATURES], after `gather`."""
    for h in range(POPULARITIES):
        out[h] = popularity_feature(learners.items, learners.mixing, h, item)
    out[F_TASTE] = ZERO
    if tasteful:
        out[F_TASTE] = product(learners.users.query[user], learners.items.vector, item, lanes)
    out[F_ITEM] = learners.items.bias[item]
    out[F_RESPONSE] = response_feature(learners.items, learners.mixing, item)
    at = learners.scratch.mark[item]
    for f in range(SPARSE):
        out[FIRST_SPARSE + f] = learners.scratch.feature[at, f] if at >= 0 else ZERO


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
    features_of(learners, user, item, tasteful, lanes, features)
    for e in range(terms.shape[0]):
        terms[e] = ZERO
    for f in range(FEATURES):
        weight = np.float32(1.0) if f == F_ITEM else learners.scratch.weight[f]
        terms[EXPERT_OF_FEATURE[f]] += weight * features[f]


@njit(cache=True)
def explain(learners: Learners, user: int, at_ms: int, context: np.ndarray, item: int, terms: np.ndarray) -> None:
    """As `explain_gathered`, for one item asked about by itself."""
    gather(learners, user, at_ms, context)
    features = np.empty(FEATURES, np.float32)
    explain_gathered(learners, user, item, has_taste(learners, user), np.empty(16, np.float32), features, terms)
