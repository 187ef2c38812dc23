"""Observe: what the learners take from one event.

Order matters and is fixed: first the event is predicted, and all that combines the experts, biases and vectors move
against the loss; then popularity, contexts and memories count it; last the user's own state moves on. So an event is
tested before it is learned, always.

Stable for callers: Learners, observe, introduce, taken_lately.
"""

import numpy as np

from online.arithmetic import exp, log
from online.chance import philox
from online.compiling import counting_kernel, kernel
from online.journal import Journal, RowJournal, touch, touch_all
from online.recommendation import popularity
from online.recommendation.backbone import Backbone, step
from online.recommendation.cells import probed
from online.recommendation.codes import agreement, encode
from online.recommendation.context import found_or_new, key_at
from online.recommendation.kinds import count_kinds
from online.recommendation.layout import (
    CANDIDATES_MAX,
    CONTEXT_PLACES,
    FEATURES,
    POPULARITIES,
    RING,
    CellArrays,
    ContextArrays,
    ItemArrays,
    Learners,
    Scratch,
    UserArrays,
)
from online.recommendation.memory import remember
from online.recommendation.mixing import TRUST_RATE_MAX, move_kin, move_trust, move_weights
from online.recommendation.rescoring import learn_network
from online.recommendation.residuals import move_item, settle_new
from online.recommendation.score import add_corrections, features_of, gather, has_taste, score_columns
from online.recommendation.settings import Knobs

__all__ = ["Learners", "introduce", "observe", "taken_lately"]

FOLLOWED_BY = 3  # takes of a session after which an item still counts as the one before
POPULAR_RIVALS = 8  # of each list
TASTE_RIVALS = 24
TASTE_PROBES = 8  # cells in which those are looked for
RANDOM_RIVALS = 16
RIVALS_MAX = CANDIDATES_MAX - 1 - RANDOM_RIVALS - TASTE_RIVALS - POPULARITIES * POPULAR_RIVALS
LOSS_MAX = 50.0
_DRAWS = np.uint64(0x7065_7265_6E6E_6961)  # a key of its own: no other draw shares it
MOVED_FROM = 0.01  # rivals of a lower probability leave bias and vector alone


@kernel
def observe(
    learners: Learners,
    journal: Journal,
    user: int,
    item: int,
    at_ms: int,
    context: np.ndarray,
    weight: float,
    popular: float,
    learning: bool,
) -> float:
    """Learn that a user took an item, in place. The log loss of predicting it beforehand, or -1 where it was not asked.

    user, item: rows; context: u8 [CONTEXT_FEATURES] keys, 0 is none; weight in [0, 1]: influence on what is shared.
    popular: what of the weight counts in popularity.
    Without `learning` only the user's own state moves.
    """
    loss = -1.0
    if learning and weight > 0.0:
        clock, knobs = learners.mixing.clock, learners.knobs
        always = clock[1] < knobs.mixing_all_until
        if always or clock[1] % knobs.mixing_every == 0:
            loss = _compare(
                learners, journal, user, item, at_ms, context, weight, 1.0 if always else float(knobs.mixing_every)
            )
        clock[0] = max(clock[0], at_ms)
        clock[1] += 1
        clock[2] = max(clock[2], item + 1)
        if popularity.take(learners.items, learners.mixing, item, at_ms, weight * popular):
            touch_all(journal.items)
        _remember_contexts(learners.contexts, journal.contexts, item, at_ms, context, weight, knobs.context_ms)
        _remember_past(learners.users, learners.items, knobs, journal.items, user, item, at_ms, weight)
        introduce(learners, item, at_ms)
        learners.items.taken[item] += np.float32(weight)
        count_kinds(learners.kinds, learners.items.kind, item, weight)
        touch(journal.items, item)
    _follow(learners.users, learners.backbone, learners.items.vector, learners.scratch.backbone, user, item, at_ms)
    touch(journal.users, user)
    return loss


@kernel
def taken_lately(users: UserArrays, user: int, item: int) -> bool:
    """Whether the item is among the user's last."""
    for lag in range(RING):
        if users.ring[user, lag] == item:
            return True
    return False


@kernel
def introduce(learners: Learners, item: int, at_ms: int) -> None:
    """Note when an item came, by its first take or before it. One that training has not seen is new from then on."""
    items, mixing = learners.items, learners.mixing
    if items.since_ms[item] != 0.0:
        return
    items.since_ms[item] = max(1, at_ms)
    if items.trained[item] == 0:
        mixing.newest[mixing.came[0] % mixing.newest.shape[0]] = item
        mixing.came[0] += 1


@kernel
def _remember_contexts(
    contexts: ContextArrays,
    journal: RowJournal,
    item: int,
    at_ms: int,
    context: np.ndarray,
    weight: float,
    half_life_ms: float,
) -> None:
    for k in range(CONTEXT_PLACES):
        key = key_at(context, k)
        if key == 0:
            continue
        row = found_or_new(contexts, key, at_ms)
        remember(
            contexts.item,
            contexts.count,
            contexts.total,
            contexts.at_ms,
            row,
            item,
            float(at_ms),
            half_life_ms,
            weight,
        )
        touch(journal, row)


@kernel
def _remember_past(
    users: UserArrays,
    items: ItemArrays,
    knobs: Knobs,
    journal: RowJournal,
    user: int,
    item: int,
    at_ms: int,
    weight: float,
) -> None:
    """What the item follows, and what it is near."""
    now_ms = float(at_ms)
    taken = users.taken[user]
    later_ms = at_ms
    inside = True
    for lag in range(min(taken, RING)):
        place = (taken - 1 - lag) % RING
        before = users.ring[user, place]
        inside = inside and later_ms - users.ring_at_ms[user, place] <= knobs.session_gap_ms
        later_ms = users.ring_at_ms[user, place]
        followed = inside and lag < FOLLOWED_BY
        if not followed and lag >= knobs.around_window:
            break
        if before < 0 or before == item:
            continue
        if followed:
            share = weight / (1.0 + lag)
            remember(
                items.fast_item,
                items.fast_count,
                items.fast_total,
                items.fast_at_ms,
                before,
                item,
                now_ms,
                knobs.next_fast_ms,
                share,
            )
            remember(
                items.slow_item,
                items.slow_count,
                items.slow_total,
                items.slow_at_ms,
                before,
                item,
                now_ms,
                knobs.next_slow_ms,
                share,
            )
            if lag == 0:
                settle_new(items, item, before)
        if lag < knobs.around_window:
            share = weight / (1.0 + knobs.around_fade * lag)
            for side in range(2):
                remember(
                    items.around_item,
                    items.around_count,
                    items.around_total,
                    items.around_at_ms,
                    before if side == 0 else item,
                    item if side == 0 else before,
                    now_ms,
                    knobs.around_ms,
                    share,
                )
        touch(journal, before)


@kernel
def _follow(
    users: UserArrays,
    backbone: Backbone,
    vectors: np.ndarray,
    room: np.ndarray,
    user: int,
    item: int,
    at_ms: int,
) -> None:
    """The user's own state: the last items, and where the backbone stands."""
    place = users.taken[user] % RING
    users.ring[user, place] = item
    users.ring_at_ms[user, place] = at_ms
    users.taken[user] += 1
    layers, memories = backbone.rate.shape
    taps, dimension = backbone.taps.shape
    if layers > 0:
        size = layers * memories + (taps - 1) * dimension
        step(backbone, users.hidden[user, :size], vectors[item, :dimension], users.query[user, :dimension], room)


@counting_kernel
def _compare(
    learners: Learners,
    journal: Journal,
    user: int,
    item: int,
    at_ms: int,
    context: np.ndarray,
    weight: float,
    stands_for_events: float,
) -> float:
    """Predict the taken item among its rivals, and move trust, weights, network, biases and vectors against the loss.

    The softmax runs over the taken item, the hardest rivals of every kind, and RANDOM_RIVALS others that stand for all
    the rest, each of them for its share: a sampled softmax that knows its sampling rates, so that weights which would
    let the cold part of the catalogue rise are held down too. Rivals that the memories alone had found would take the
    memories' weights down: where they hold all up they tell little apart, whatever they are worth in the catalogue.
    """
    users, items, scratch, knobs = learners.users, learners.items, learners.scratch, learners.knobs
    if items.taken[item] == 0.0 and items.since_ms[item] == 0.0 and items.trained[item] == 0:
        return -1.0  # nobody could have known it
    if taken_lately(users, user, item):
        return -1.0  # what was taken is not recommended again
    segment = gather(learners, user, at_ms, context)
    tasteful = knobs.mixes_taste and has_taste(learners, user)
    stamp = scratch.stamp
    scratch.stamps[0] += 1
    now = scratch.stamps[0]
    for lag in range(RING):
        row = users.ring[user, lag]
        if 0 <= row < stamp.shape[0]:
            stamp[row] = now
    stamp[item] = now
    scratch.candidate[0] = item
    held = _hard_rivals(
        scratch.candidate,
        stamp,
        now,
        scratch.touched,
        scratch.sparse,
        scratch.used[0],
        learners.mixing.top,
        scratch.order,
        min(knobs.candidates, RIVALS_MAX),
    )
    if tasteful:
        encode(users.query, user, scratch.query_code, scratch.query_step, 0)
        code, code_step = items.code, items.code_step
        held = _tasted_rivals(learners.cells, scratch, users.query, user, code, code_step, stamp, now, held)
    count = _random_rivals(scratch.candidate, 1 + held, stamp, now, learners.mixing.clock)
    rest = float(learners.mixing.clock[2] - 1 - held)
    stands_for = max(1.0, rest / (count - 1 - held)) if count > 1 + held else 1.0

    features, errors = scratch.candidate_feature, scratch.candidate_score
    features_of(learners, user, scratch.candidate, count, tasteful)
    score_columns(scratch, items.bias, scratch.candidate, count, scratch.value)
    networked = not has_taste(learners, user)
    if networked:
        add_corrections(scratch, count, scratch.value)
    best = -1e300
    for c in range(count):
        errors[c] = float(scratch.value[c])
        best = max(best, errors[c])
    total = 0.0
    for c in range(count):
        errors[c] = exp(errors[c] - best)
        if c > held:
            errors[c] *= stands_for
        total += errors[c]
    loss = log(total / errors[0]) if errors[0] > 0.0 else LOSS_MAX
    gradient, kin_gradient = np.zeros(FEATURES, np.float64), np.zeros(1, np.float64)
    for c in range(count):
        error = (errors[c] / total - (1.0 if c == 0 else 0.0)) * weight
        errors[c] = error
        for f in range(FEATURES):
            gradient[f] += error * float(features[f, c])
        kin_gradient[0] += error * float(scratch.candidate_kinship[c])
    for c in range(1 + held):
        if errors[c] > MOVED_FROM or c == 0:
            row = scratch.candidate[c]
            move_item(
                items, row, users.query, user, tasteful, errors[c], knobs.vector_rate, knobs.bias_rate, knobs.anchor
            )
            touch(journal.items, row)
    move_weights(learners.mixing, segment, gradient, knobs.mixing_rate)
    move_kin(learners.mixing, segment, kin_gradient, knobs.mixing_rate)
    if networked:
        learn_network(learners.mixing, scratch, errors, count, segment, knobs.rescoring_rate)
    move_trust(
        learners.mixing.trust,
        segment,
        scratch.candidate_share[:, 0],
        min(TRUST_RATE_MAX, knobs.trust_rate * weight * stands_for_events),
    )
    return min(loss, LOSS_MAX)


@kernel
def _hard_rivals(
    candidate: np.ndarray,
    stamp: np.ndarray,
    now: int,
    touched: np.ndarray,
    sparse: np.ndarray,
    used: int,
    top: np.ndarray,
    order: np.ndarray,
    most: int,
) -> int:
    """The strongest of the touched by what the memories say, and the most popular of each list, into candidate from 1
    on; how many. Items stamped already stay out, those chosen are stamped. Ties go to the item touched first."""
    held = 0
    for at in range(used):
        if stamp[touched[at]] == now:
            continue
        value = sparse[at]
        if held == most and not value > sparse[order[held - 1]]:
            continue
        k = held if held < most else most - 1
        while k > 0 and sparse[order[k - 1]] < value:
            order[k] = order[k - 1]
            k -= 1
        order[k] = at
        if held < most:
            held += 1
    for k in range(held):
        candidate[1 + k] = touched[order[k]]
        stamp[candidate[1 + k]] = now
    for h in range(POPULARITIES):
        for k in range(POPULAR_RIVALS):
            row = top[h, k]
            if row >= 0 and stamp[row] != now:
                stamp[row] = now
                held += 1
                candidate[held] = row
    return held


@kernel
def _tasted_rivals(
    cells: CellArrays,
    scratch: Scratch,
    queries: np.ndarray,
    user: int,
    code: np.ndarray,
    code_step: np.ndarray,
    stamp: np.ndarray,
    now: int,
    held: int,
) -> int:
    """Append the items that the user's query, whose code stands in scratch, points to most, out of a few cells; how
    many rivals there are then."""
    candidate, order, value, query = scratch.candidate, scratch.order, scratch.value, scratch.query_code[0]
    start, members = cells.start, cells.row
    found, size = 0, 0
    near = probed(cells.centre, queries, user, scratch.lanes, scratch.near, scratch.nearest)
    for at in range(min(near, TASTE_PROBES)):
        for place in range(start[scratch.nearest[at]], start[scratch.nearest[at] + 1]):
            row = members[place]
            if stamp[row] == now or size == value.shape[0]:
                continue
            worth = code_step[row] * np.float32(agreement(query, code, row))
            if found == TASTE_RIVALS and not worth > value[order[found - 1]]:
                continue
            scratch.found[size], value[size] = row, worth
            k = found if found < TASTE_RIVALS else TASTE_RIVALS - 1
            while k > 0 and value[order[k - 1]] < worth:
                order[k] = order[k - 1]
                k -= 1
            order[k] = size
            size += 1
            if found < TASTE_RIVALS:
                found += 1
    for k in range(found):
        held += 1
        candidate[held] = scratch.found[order[k]]
        stamp[candidate[held]] = now
    return held


@kernel
def _random_rivals(candidate: np.ndarray, count: int, stamp: np.ndarray, now: int, clock: np.ndarray) -> int:
    """Append up to RANDOM_RIVALS other items, drawn by the number of the event; how many candidates there are then."""
    for draw in range(RANDOM_RIVALS):
        word, _ = philox(_DRAWS, np.uint64(clock[1]), np.uint64(draw))
        row = np.int64(word % np.uint64(max(clock[2], 1)))
        if stamp[row] != now:
            stamp[row] = now
            candidate[count] = row
            count += 1
    return count
