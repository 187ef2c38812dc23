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

from online.compiling import kernel
from online.recommendation.codes import agreement
from online.recommendation.context import context_rows
from online.recommendation.kinds import kinship_of, set_kinship
from online.recommendation.layout import (
    CANDIDATES_MAX,
    CONTEXT_PLACES,
    DIMENSION,
    E_ITEM,
    E_KIND,
    E_RESPONSE,
    E_TASTE,
    E_TOGETHER,
    EXPERT_OF_SHARE,
    F_AGE,
    F_MIXTURE,
    F_RESPONSE,
    F_TASTE,
    FEATURES,
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
    ItemArrays,
    Learners,
    Scratch,
)
from online.recommendation.logarithm import log2_plain
from online.recommendation.memory import Brought, bring, share_of_one
from online.recommendation.mixing import set_weights, situation
from online.recommendation.rescoring import correct, set_network
from online.recommendation.settings import Knobs
from online.recommendation.vectors import product

NEW_UP_TO = np.float32(8.0)  # takes, after which an item speaks for itself
LAGS = 6  # last items whose followers count
SHARE_SCALE = np.float32(200.0)  # a share of 1 / 200 is one bit of a feature
FLOOR = np.float32(1048576.0)  # a mixture of 1 / FLOOR is one bit above nothing
LN2 = np.float32(0.6931472)
AGE_UNIT_MS = 600_000.0
AGE_SCALE = np.float32(0.3)
ZERO = np.float32(0.0)
ONE = np.float32(1.0)


@kernel
def has_taste(learners: Learners, user: int) -> bool:
    """Whether the backbone says anything about this user."""
    if user < 0:
        return False
    query = learners.users.query
    for k in range(DIMENSION):
        if query[user, k] != ZERO:
            return True
    return False


@kernel
def gather(learners: Learners, user: int, at_ms: int, context: np.ndarray) -> int:
    """Bring up what the memories hold for this user and moment; the user's situation.

    Fills scratch: weights, trust and network, touched items with their shares and the sparse part of their mixture.
    user: row or -1; context: u8 [CONTEXT_FEATURES] keys, 0 is none.
    """
    users, items, contexts = learners.users, learners.items, learners.contexts
    knobs, mixing, scratch = learners.knobs, learners.mixing, learners.scratch
    mark, touched = scratch.mark, scratch.touched
    for at in range(scratch.used[0]):
        mark[touched[at]] = -1
    now_ms = float(mixing.clock[0])
    segment = situation(users.taken, users.ring_at_ms, user, at_ms, knobs.session_gap_ms)
    context_rows(contexts.key, context, scratch.context_rows)
    set_weights(mixing, segment, scratch.weight, scratch.trust, scratch.kin)
    set_kinship(learners.kinds, items, users, user, scratch.kinship)
    set_network(mixing.inner, mixing.outer, segment, scratch)
    if has_taste(learners, user):
        # Where the backbone speaks, the network is silent: on a film catalogue it took away what following users gave.
        for j in range(UNITS):
            scratch.outer[j] = ZERO
    for h in range(POPULARITIES):
        scratch.popular[h] = 1.0 / mixing.total[h] if mixing.total[h] > 0.0 else 0.0

    brought = Brought(mark, touched, scratch.held, scratch.share, scratch.sparse, scratch.trust[FIRST_SPARSE:])
    used = _bring_new(brought, mixing.newest, items.taken)
    if user >= 0:
        for lag in range(min(users.taken[user], RING)):
            if lag >= LAGS and lag >= knobs.around_window:
                break
            last = users.ring[user, (users.taken[user] - 1 - lag) % RING]
            if 0 <= last < mark.shape[0]:
                used = _bring_followers(brought, items, knobs, last, lag, now_ms, used)
    for k in range(CONTEXT_PLACES):
        row = scratch.context_rows[k]
        if row >= 0:
            one = share_of_one(contexts.total[row], contexts.at_ms[row], now_ms, knobs.context_ms, knobs.context_prior)
            used = bring(brought, contexts.item, contexts.count, row, one, S_CONTEXT - FIRST_SPARSE + k, used)
    scratch.used[0] = used
    return segment


@kernel
def _bring_new(brought: Brought, newest: np.ndarray, taken: np.ndarray) -> int:
    """The newest items that nobody knows yet, with their share of what goes to new ones; how many."""
    mark, touched, held, shares, mixture = brought.mark, brought.item, brought.held, brought.share, brought.mixture
    expert, share = S_NEW - FIRST_SPARSE, np.float32(1.0 / NEWEST)
    trust = brought.trust[expert]
    used = 0
    for k in range(newest.shape[0]):
        row = newest[k]
        if 0 <= row < mark.shape[0] and taken[row] < NEW_UP_TO and mark[row] < 0:
            mark[row], touched[used], held[used] = used, row, np.int32(1 << expert)
            shares[used, expert] = share
            mixture[used] = trust * share
            used += 1
    return used


@kernel
def _bring_followers(
    brought: Brought, items: ItemArrays, knobs: Knobs, last: int, lag: int, now_ms: float, used: int
) -> int:
    """What follows the item taken `lag` takes ago, and what is near it; how many items there are by now."""
    if lag < LAGS:
        total, at_ms = items.fast_total[last], items.fast_at_ms[last]
        one = share_of_one(total, at_ms, now_ms, knobs.next_fast_ms, knobs.next_prior)
        expert = S_NEXT_FAST - FIRST_SPARSE + min(lag, 2)
        used = bring(brought, items.fast_item, items.fast_count, last, one, expert, used)
        total, at_ms = items.slow_total[last], items.slow_at_ms[last]
        one = share_of_one(total, at_ms, now_ms, knobs.next_slow_ms, knobs.next_prior)
        expert = S_NEXT_SLOW - FIRST_SPARSE + min(lag, 2)
        used = bring(brought, items.slow_item, items.slow_count, last, one, expert, used)
    if lag < knobs.around_window:
        total, at_ms = items.around_total[last], items.around_at_ms[last]
        one = share_of_one(total, at_ms, now_ms, knobs.around_ms, knobs.around_prior)
        one /= 1.0 + knobs.around_fade * lag
        used = bring(brought, items.around_item, items.around_count, last, one, S_AROUND - FIRST_SPARSE, used)
    return used


@kernel
def bits_of(share: np.float32) -> np.float32:
    """The feature of a share."""
    return log2_plain(ONE + share * SHARE_SCALE) if share > ZERO else ZERO


@kernel
def add_memories(scratch: Scratch, rows: np.ndarray, count: int, mixture: np.ndarray, value: np.ndarray) -> None:
    """Add the memories' part to mixture[:count] of items rows[:count], and what their shares say, each by itself, to
    value[:count]."""
    mark, sparse, held, share, weight = scratch.mark, scratch.sparse, scratch.held, scratch.share, scratch.weight
    for c in range(count):
        at = mark[rows[c]]
        if at < 0:
            continue
        mixture[c] += sparse[at]
        total = ZERO
        left, f = held[at], 0
        while left != 0:
            if left & 1:
                total += weight[FIRST_SPARSE + f] * bits_of(share[at, f])
            left >>= 1
            f += 1
        value[c] += total


@kernel
def age_of(since_ms: float, now_ms: float) -> np.float32:
    """How long an item is known, from 1; nobody knows it yet: 1."""
    age_ms = now_ms - since_ms if since_ms > 0.0 else 0.0
    return np.float32(1.0 + max(0.0, age_ms) / AGE_UNIT_MS)


@kernel
def first_look(learners: Learners, rows: np.ndarray, count: int, by_taste: np.float32, values: np.ndarray) -> None:
    """values[:count] of items rows[:count]: all but the network; the taste by codes.

    After `gather`. by_taste: the weight of the taste times the step of the query's code, which stands in scratch.
    Column by column the memory is fetched, as in `features_of`.
    """
    items, scratch = learners.items, learners.scratch
    heat, response, bias, code, code_step = items.heat, items.response, items.bias, items.code, items.code_step
    kind, since_ms, kinship, query = items.kind, items.since_ms, scratch.kinship, scratch.query_code[0]
    popular, weight, trust = scratch.popular, scratch.weight, scratch.trust
    heats, age, mixture = scratch.candidate_share, scratch.candidate_feature[F_AGE], scratch.candidate_mixture
    by_mixture, by_response, by_kin = weight[F_MIXTURE] * LN2, weight[F_RESPONSE], scratch.kin[0]
    by_age = weight[F_AGE]
    now_ms = float(learners.mixing.clock[0])
    for start in range(0, count, CANDIDATES_MAX):
        many = min(CANDIDATES_MAX, count - start)
        value, listed = values[start : start + many], rows[start : start + many]
        for c in range(many):
            row = listed[c]
            value[c] = by_response * response[row]
            for h in range(POPULARITIES):
                heats[h, c] = heat[row, h]
            mixture[c] = ZERO
            age[c] = age_of(since_ms[row], now_ms)
        if learners.kinds.known[0] > 0:
            for c in range(many):
                value[c] += by_kin * kinship_of(kinship, kind, listed[c])
        for h in range(POPULARITIES):
            by, one, trusted = weight[h], popular[h], trust[h] * popular[h]
            for c in range(many):
                mixture[c] += trusted * heats[h, c]
                value[c] += by * bits_of(heats[h, c] * one)
        add_memories(scratch, listed, many, mixture, value)
        for c in range(many):
            value[c] += by_age * (AGE_SCALE * log2_plain(age[c]))
            value[c] += by_mixture * log2_plain(ONE + mixture[c] * FLOOR)
        if by_taste != ZERO:
            for c in range(many):
                row = listed[c]
                value[c] += (by_taste * code_step[row]) * np.float32(agreement(query, code, row))
        for c in range(many):
            value[c] += bias[listed[c]]


@kernel
def features_of(learners: Learners, user: int, rows: np.ndarray, count: int, tasteful: bool) -> None:
    """The shares and features of items rows[:count] into scratch.candidate_share and candidate_feature, one column for
    each of them, after `gather`. At most CANDIDATES_MAX rows.

    Column by column the memory is fetched; row by row, many columns at a time, the arithmetic is done.
    """
    items, scratch, query = learners.items, learners.scratch, learners.users.query
    now_ms = float(learners.mixing.clock[0])
    heat, since_ms, response, mark, sparse = items.heat, items.since_ms, items.response, scratch.mark, scratch.sparse
    shares, features, mixture = scratch.candidate_share, scratch.candidate_feature, scratch.candidate_mixture
    popular, held, given, trust = scratch.popular, scratch.held, scratch.share, scratch.trust
    kin, kinship, kind = scratch.candidate_kinship, scratch.kinship, items.kind
    for c in range(count):
        item = rows[c]
        at = mark[item]
        for h in range(POPULARITIES):
            shares[h, c] = heat[item, h] * popular[h]
        if at >= 0:
            for k in range(SPARSE):
                shares[FIRST_SPARSE + k, c] = given[at, k] if held[at] >> k & 1 else ZERO
            mixture[c] = sparse[at]
        else:
            for k in range(SPARSE):
                shares[FIRST_SPARSE + k, c] = ZERO
            mixture[c] = ZERO
        features[F_TASTE, c] = product(query, user, items.vector, item, scratch.lanes) if tasteful else ZERO
        features[F_RESPONSE, c] = response[item]
        kin[c] = ZERO
        features[F_AGE, c] = age_of(since_ms[item], now_ms)
    if learners.kinds.known[0] > 0:
        for c in range(count):
            kin[c] = kinship_of(kinship, kind, rows[c])
    for h in range(POPULARITIES):
        for c in range(count):
            mixture[c] += trust[h] * shares[h, c]
    for k in range(SHARES):
        for c in range(count):
            features[k, c] = bits_of(shares[k, c])
    for c in range(count):
        features[F_MIXTURE, c] = LN2 * log2_plain(ONE + mixture[c] * FLOOR)
        features[F_AGE, c] = AGE_SCALE * log2_plain(features[F_AGE, c])


@kernel
def score_columns(scratch: Scratch, bias: np.ndarray, rows: np.ndarray, count: int, scores: np.ndarray) -> None:
    """scores[:count] of the columns that `features_of` filled: weighted features, kinship and biases."""
    features, weight = scratch.candidate_feature, scratch.weight
    kin, by_kin = scratch.candidate_kinship, scratch.kin[0]
    for c in range(count):
        scores[c] = by_kin * kin[c]
    for f in range(FEATURES):
        by = weight[f]
        for c in range(count):
            scores[c] += by * features[f, c]
    for c in range(count):
        scores[c] += bias[rows[c]]


@kernel
def add_corrections(scratch: Scratch, count: int, scores: np.ndarray) -> None:
    """Add the network's to scores[:count] of the columns that `features_of` filled."""
    features, units = scratch.candidate_feature, scratch.units
    correct(features, scratch.inner, scratch.start, scratch.outer, units, count, scores)


@kernel
def score_few(learners: Learners, user: int, rows: np.ndarray, count: int, scores: np.ndarray) -> None:
    """scores[row] of items rows[:count], exactly, after `gather` of the same moment. At most CANDIDATES_MAX rows."""
    scratch = learners.scratch
    tasteful = has_taste(learners, user)
    features_of(learners, user, rows, count, tasteful)
    score_columns(scratch, learners.items.bias, rows, count, scratch.value)
    if not tasteful:  # else the network is silent, see `gather`
        add_corrections(scratch, count, scratch.value)
    for c in range(count):
        scores[rows[c]] = scratch.value[c]
        scratch.candidate[c] = rows[c]


@kernel
def explain_few(learners: Learners, rows: np.ndarray, count: int, terms: np.ndarray) -> None:
    """terms: f4 [>= count, EXPERTS], what each expert adds to the scores of some of the rows that `score_few` scored
    last; their sum is the score but for rounding.

    The mixture's logarithm is divided among the experts by their parts in the mixture.
    """
    scratch, bias = learners.scratch, learners.items.bias
    weight, trust, outer, units = scratch.weight, scratch.trust, scratch.outer, scratch.units
    candidate = scratch.candidate
    shares, features, mixture = scratch.candidate_share, scratch.candidate_feature, scratch.candidate_mixture
    for r in range(count):
        for e in range(terms.shape[1]):
            terms[r, e] = ZERO
        c = 0
        while c < candidate.shape[0] - 1 and candidate[c] != rows[r]:
            c += 1
        whole = weight[F_MIXTURE] * features[F_MIXTURE, c]
        for k in range(SHARES):
            if shares[k, c] > ZERO:
                part = whole * (trust[k] * shares[k, c] / mixture[c]) if mixture[c] > ZERO else ZERO
                terms[r, EXPERT_OF_SHARE[k]] += part + weight[k] * features[k, c]
        terms[r, E_TASTE] = weight[F_TASTE] * features[F_TASTE, c]
        terms[r, E_ITEM] = bias[rows[r]]
        terms[r, E_KIND] = scratch.kin[0] * scratch.candidate_kinship[c]
        terms[r, E_RESPONSE] = weight[F_RESPONSE] * features[F_RESPONSE, c]
        together = ZERO
        for j in range(UNITS):
            if outer[j] != ZERO:  # else nobody has set the units
                together += outer[j] * units[j, c]
        terms[r, E_TOGETHER] = together + weight[F_AGE] * features[F_AGE, c]
