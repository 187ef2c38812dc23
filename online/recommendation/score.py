"""Scores: what every item is worth to a user at a moment, and why.

    mixture = sum of trust * share over the experts: popularity at six half-lives, which every item has, and the
              memories (what follows the last items, what is near them, what is taken in the same context), which give
              a share to the items that they hold
    score   = sum of weight * feature + the item's bias: the mixture's logarithm, the backbone's query times the item's
              vector, how the item responds where it is shown

`first_look` makes that sum for a candidate, with the vectors' 8-bit codes for the taste. The few best are scored
exactly by `score_few`, with every share as a feature of its own and the rescoring network's correction. All sums run
in a fixed order. `online.recommendation.ranking` says who is a candidate.

Parameters know the time at which they learned last (`mixing.clock`), and counts are decayed up to then: a model that
learns no more does not take silence for cold.

Kernels called for each item take the few arrays that they read: a call that hands over all the learners' arrays costs
a microsecond.
"""

import numpy as np
from numba import njit

from online.recommendation.context import context_rows
from online.recommendation.layout import (
    CONTEXT_PLACES,
    DIMENSION,
    E_ITEM,
    E_RESPONSE,
    E_TASTE,
    E_TOGETHER,
    EXPERT_OF_SHARE,
    F_AGE,
    F_MIXTURE,
    F_RESPONSE,
    F_TASTE,
    FIRST_SPARSE,
    NEWEST,
    POPULARITIES,
    RING,
    S_AROUND,
    S_CONTEXT,
    S_NEW,
    S_NEXT_FAST,
    S_NEXT_SLOW,
    SHARES,
    SPARSE,
    UNITS,
    Learners,
)
from online.recommendation.memory import bring, share_of_one
from online.recommendation.mixing import set_weights, situation
from online.recommendation.rescoring import corrected, set_network

NEW_UP_TO = np.float32(8.0)  # takes, after which an item speaks for itself
LAGS = 6  # last items whose followers count
SHARE_SCALE = np.float32(200.0)  # a share of 1 / 200 is one bit of a feature
FLOOR = np.float32(1048576.0)  # a mixture of 1 / FLOOR is one bit above nothing
LN2 = np.float32(0.6931472)
AGE_UNIT_MS = 600_000.0
AGE_SCALE = np.float32(0.3)
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
def gather(learners: Learners, user: int, at_ms: int, context: np.ndarray) -> int:
    """Bring up what the memories hold for this user and moment; the user's situation.

    Fills scratch: weights, trust and network, touched items with their shares and the sparse part of their mixture.
    user: row or -1; context: u8 [CONTEXT_FEATURES] keys, 0 is none.
    """
    users, items, contexts = learners.users, learners.items, learners.contexts
    knobs, mixing, scratch = learners.knobs, learners.mixing, learners.scratch
    mark, touched, share = scratch.mark, scratch.touched, scratch.share
    for at in range(scratch.used[0]):
        mark[touched[at]] = -1
    used = 0
    now_ms = float(mixing.clock[0])
    segment = situation(users.taken, users.ring_at_ms, user, at_ms, knobs.session_gap_ms)
    context_rows(contexts.key, context, scratch.context_rows)
    set_weights(mixing, segment, scratch.weight, scratch.trust)
    set_network(mixing.inner, mixing.outer, segment, scratch)
    if has_taste(learners, user):
        # Where the backbone speaks, the network is silent: on a film catalogue it took away what following users gave.
        for j in range(UNITS):
            scratch.outer[j] = ZERO
    for h in range(POPULARITIES):
        scratch.popular[h] = 1.0 / mixing.total[h] if mixing.total[h] > 0.0 else 0.0

    for k in range(mixing.newest.shape[0]):
        row = mixing.newest[k]
        if 0 <= row < mark.shape[0] and items.taken[row] < NEW_UP_TO and mark[row] < 0:
            used = touch_new(row, mark, touched, share, used)
    if user >= 0:
        taken = users.taken[user]
        for lag in range(min(taken, RING)):
            if lag >= LAGS and lag >= knobs.around_window:
                break
            last = users.ring[user, (taken - 1 - lag) % RING]
            if last < 0 or last >= mark.shape[0]:
                continue
            if lag < LAGS:
                f = S_NEXT_FAST - FIRST_SPARSE + min(lag, 2)
                one = share_of_one(
                    items.fast_total[last], items.fast_at_ms[last], now_ms, knobs.next_fast_ms, knobs.next_prior
                )
                used = bring(items.fast_item, items.fast_count, last, one, f, mark, touched, share, used)
                f = S_NEXT_SLOW - FIRST_SPARSE + min(lag, 2)
                one = share_of_one(
                    items.slow_total[last], items.slow_at_ms[last], now_ms, knobs.next_slow_ms, knobs.next_prior
                )
                used = bring(items.slow_item, items.slow_count, last, one, f, mark, touched, share, used)
            if lag < knobs.around_window:
                f = S_AROUND - FIRST_SPARSE
                one = share_of_one(
                    items.around_total[last], items.around_at_ms[last], now_ms, knobs.around_ms, knobs.around_prior
                )
                one /= 1.0 + knobs.around_fade * lag
                used = bring(items.around_item, items.around_count, last, one, f, mark, touched, share, used)
    for k in range(CONTEXT_PLACES):
        row = scratch.context_rows[k]
        if row >= 0:
            f = S_CONTEXT - FIRST_SPARSE + k
            one = share_of_one(contexts.total[row], contexts.at_ms[row], now_ms, knobs.context_ms, knobs.context_prior)
            used = bring(contexts.item, contexts.count, row, one, f, mark, touched, share, used)
    scratch.used[0] = used
    _trusted(share, scratch.trust, used, scratch.sparse)
    return segment


@njit(cache=True)
def touch_new(row: int, mark: np.ndarray, touched: np.ndarray, share: np.ndarray, used: int) -> int:
    """Bring up one of the newest items, with its share of what goes to them; how many are touched by now."""
    mark[row] = used
    touched[used] = row
    for k in range(SPARSE):
        share[used, k] = ZERO
    share[used, S_NEW - FIRST_SPARSE] = np.float32(1.0 / NEWEST)
    return used + 1


@njit(cache=True)
def _trusted(share: np.ndarray, trust: np.ndarray, used: int, sparse: np.ndarray) -> None:
    """sparse = the sum of trust * share over the memories, for each of the touched."""
    for at in range(used):
        total = ZERO
        for k in range(SPARSE):
            total += trust[FIRST_SPARSE + k] * share[at, k]
        sparse[at] = total


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
def first_look(learners: Learners, rows: np.ndarray, count: int, by_taste: np.float32, scores: np.ndarray) -> None:
    """scores[row] of rows[:count]: all but what shares say one by one, and the network; the taste by codes.

    After `gather`. by_taste: the weight of the taste times the step of the query's code, which stands in scratch.
    """
    items, scratch = learners.items, learners.scratch
    heat, response, bias, code, code_step = items.heat, items.response, items.bias, items.code, items.code_step
    mark, sparse, query = scratch.mark, scratch.sparse, scratch.query_code[0]
    by_mixture, by_response = scratch.weight[F_MIXTURE] * LN2, scratch.weight[F_RESPONSE]
    trusted = np.empty(POPULARITIES, np.float32)
    for h in range(POPULARITIES):
        trusted[h] = scratch.trust[h] * scratch.popular[h]
    for k in range(count):
        row = rows[k]
        mixture = ZERO
        for h in range(POPULARITIES):
            mixture += trusted[h] * heat[row, h]
        at = mark[row]
        if at >= 0:
            mixture += sparse[at]
        score = by_mixture * log2_plain(ONE + mixture * FLOOR) + by_response * response[row]
        if by_taste != ZERO:
            total = np.int32(0)
            for d in range(DIMENSION):
                total += np.int32(query[d]) * np.int32(code[row, d])
            score += (by_taste * code_step[row]) * np.float32(total)
        scores[row] = score + bias[row]


@njit(cache=True)
def features_of(
    learners: Learners,
    user: int,
    rows: np.ndarray,
    count: int,
    tasteful: bool,
    shares: np.ndarray,
    features: np.ndarray,
) -> None:
    """shares: f4 [>= count, SHARES] and features: f4 [>= count, FEATURES] of items rows[:count], after `gather`."""
    items, scratch, query = learners.items, learners.scratch, learners.users.query
    now_ms = float(learners.mixing.clock[0])
    heat, since_ms, mark, trust = items.heat, items.since_ms, scratch.mark, scratch.trust
    for c in range(count):
        item = rows[c]
        mixture = ZERO
        for h in range(POPULARITIES):
            shares[c, h] = heat[item, h] * scratch.popular[h]
            mixture += trust[h] * shares[c, h]
        at = mark[item]
        for k in range(SPARSE):
            shares[c, FIRST_SPARSE + k] = scratch.share[at, k] if at >= 0 else ZERO
        if at >= 0:
            mixture += scratch.sparse[at]
        for k in range(SHARES):
            share = shares[c, k]
            features[c, k] = log2_plain(ONE + share * SHARE_SCALE) if share > ZERO else ZERO
        features[c, F_MIXTURE] = LN2 * log2_plain(ONE + mixture * FLOOR)
        features[c, F_TASTE] = product(query, user, items.vector, item, scratch.lanes) if tasteful else ZERO
        features[c, F_RESPONSE] = items.response[item]
        age_ms = now_ms - since_ms[item] if since_ms[item] > 0.0 else 0.0
        features[c, F_AGE] = AGE_SCALE * log2_plain(np.float32(1.0 + max(0.0, age_ms) / AGE_UNIT_MS))


@njit(cache=True)
def combined(features: np.ndarray, weight: np.ndarray) -> np.float32:
    """The weighted sum of an item's features."""
    total = ZERO
    for f in range(features.shape[0]):
        total += weight[f] * features[f]
    return total


@njit(cache=True)
def score_few(learners: Learners, user: int, rows: np.ndarray, count: int, scores: np.ndarray) -> None:
    """scores[row] of items rows[:count], exactly, after `gather` of the same moment. At most CANDIDATES_MAX rows."""
    scratch, bias = learners.scratch, learners.items.bias
    features, units, weight = scratch.candidate_feature, scratch.units, scratch.weight
    inner, start, outer = scratch.inner, scratch.start, scratch.outer
    features_of(learners, user, rows, count, has_taste(learners, user), scratch.candidate_share, features)
    for c in range(count):
        score = combined(features[c], weight) + bias[rows[c]]
        scores[rows[c]] = score + corrected(features[c], inner, start, outer, units[c])


@njit(cache=True)
def explain_few(learners: Learners, rows: np.ndarray, count: int, terms: np.ndarray) -> None:
    """terms: f4 [>= count, EXPERTS], what each expert adds to the scores of the rows given to `score_few`; their sum is
    the score but for rounding.

    The mixture's logarithm is divided among the experts by their parts in the mixture.
    """
    scratch, bias = learners.scratch, learners.items.bias
    weight, trust, outer, units = scratch.weight, scratch.trust, scratch.outer, scratch.units
    shares, features = scratch.candidate_share, scratch.candidate_feature
    for c in range(count):
        for e in range(terms.shape[1]):
            terms[c, e] = ZERO
        mixture = ZERO
        for k in range(SHARES):
            mixture += trust[k] * shares[c, k]
        whole = weight[F_MIXTURE] * features[c, F_MIXTURE]
        for k in range(SHARES):
            part = whole * (trust[k] * shares[c, k] / mixture) if mixture > ZERO else ZERO
            terms[c, EXPERT_OF_SHARE[k]] += part + weight[k] * features[c, k]
        terms[c, E_TASTE] = weight[F_TASTE] * features[c, F_TASTE]
        terms[c, E_ITEM] = bias[rows[c]]
        terms[c, E_RESPONSE] = weight[F_RESPONSE] * features[c, F_RESPONSE]
        together = ZERO
        for j in range(UNITS):
            together += outer[j] * units[c, j]
        terms[c, E_TOGETHER] = together + weight[F_AGE] * features[c, F_AGE]
