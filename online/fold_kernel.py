"""The fold's inner loop: a micro-batch of records, one by one, in place, in fixed-order arithmetic (law 2)."""

from typing import Any, NamedTuple

import numpy as np

from online.batch import DECISION, EVENT, Batch, Rules
from online.compiling import counting_kernel, kernel
from online.fifo import Fifo, find, push
from online.frame import (
    APPLIED,
    CLOSED_EARLY,
    DECISIONS,
    DECISIONS_REPEATED,
    DUPLICATE,
    LATE,
    RECEIVED,
    REJECTED,
    REWARDS,
    UNKNOWN_USERS,
    Frame,
)
from online.journal import Journal, touch
from online.recommendation.attribution import (
    Decisions,
    Slots,
    must_close,
    open_slot,
    popular_weight,
    settle,
    window_closed,
)
from online.recommendation.observe import Learners, observe, taken_lately
from online.recommendation.response import learn_slate
from online.rows import Rows, add_row, find_row, room
from online.settings import SLATE_MAX

MS_PER_HOUR = 3_600_000.0

REPEATED = 0.02  # what a report counts in what is shared, without a slate and of what the user has just taken


@kernel
def user_weight(budget: Any, budget_at_ms: Any, user: int, at_ms: int, per_hour: float) -> float:
    """How much one more event of this user moves what is shared: 1 within the budget, then what is left of it.

    A bucket of `per_hour` events that fills in event time; bounded influence of any one user.
    """
    tokens = budget[user] if budget[user] >= 0.0 else per_hour
    waited = at_ms - budget_at_ms[user]
    if waited > 0:
        tokens = min(per_hour, tokens + waited * per_hour / MS_PER_HOUR)
        budget_at_ms[user] = at_ms
    weight: float = min(1.0, tokens)
    budget[user] = tokens - weight
    return weight


@kernel
def reward_of(rules: Rules, event_type: int, value: float) -> float:
    """The reward of an outcome in [0, 1], or nan where its type carries none."""
    reward: float = rules.reward[event_type]
    if reward != reward:
        return reward
    if value == value:
        reward += rules.per_value[event_type] * value
    return min(1.0, max(0.0, reward))


@kernel
def taken_weight(rules: Rules, event_type: int, value: float) -> float:
    """The weight with which the item counts as chosen; 0 is not at all. A missing value counts as enough."""
    if value == value and value < rules.taken_from[event_type]:
        return 0.0
    weight: float = rules.taken[event_type]
    return weight


@kernel
def unknown_items(items: Rows, batch: Batch, first: int, last: int) -> int:
    """How many of the slots' items have no row yet; one that stands twice counts twice."""
    unknown = 0
    for slot in range(first, last):
        if find_row(items, batch.slot_item[slot]) < 0:
            unknown += 1
    return unknown


@kernel
def known_or_new(index: Rows, key: np.uint64) -> int:
    """The key's row; a new one where it has none."""
    row = find_row(index, key)
    return row if row >= 0 else add_row(index, key)


@counting_kernel
def close_oldest(frame: Frame, decisions: Decisions, slots: Slots, learners: Learners, journal: Journal) -> None:
    """Settle the oldest open slate and learn from it as a whole."""
    number = decisions.cursor[0]
    settle(decisions, slots, number)
    row = number % decisions.ring.key.shape[0]
    n = decisions.n[row]
    shown = np.empty(n, np.int32)
    rewards = np.empty(n, np.float32)
    propensities = np.empty(n, np.float32)
    for k in range(n):
        slot = (decisions.start[row] + k) % slots.item.shape[0]
        shown[k] = slots.item[slot]
        rewards[k] = slots.reward[slot]
        propensities[k] = slots.propensity[slot]
    if frame.learning[0] == 1:
        learn_slate(learners, journal, decisions.at_ms[row], decisions.context[row], shown, rewards, propensities)
    decisions.cursor[0] = number + 1


@kernel
def remember_decision(
    frame: Frame,
    users: Rows,
    items: Rows,
    items_last_position: Any,
    decisions: Decisions,
    slots: Slots,
    journal: Journal,
    batch: Batch,
    b: int,
) -> None:
    """Keep a slate until its window closes. The caller has made room among the open ones."""
    number = push(decisions.ring, batch.key[b])
    row = number % decisions.ring.key.shape[0]
    first, last = batch.first_slot[b], batch.first_slot[b + 1]
    decisions.user[row] = batch.user[b]
    decisions.at_ms[row] = batch.at_ms[b]
    decisions.position[row] = batch.position[b]
    for k in range(batch.context.shape[1]):
        decisions.context[row, k] = batch.context[b, k]
    decisions.start[row] = decisions.cursor[1]
    decisions.n[row] = last - first
    decisions.arm[row] = batch.arm[b]
    for k in range(last - first):
        slot = (decisions.cursor[1] + k) % slots.item.shape[0]
        item = known_or_new(items, batch.slot_item[first + k])
        items_last_position[item] = batch.position[b]
        touch(journal.items, item)
        slots.item[slot] = item
        slots.propensity[slot] = batch.slot_propensity[first + k]
        slots.reward[slot] = -1.0
    decisions.cursor[1] += last - first
    frame.counters[DECISIONS] += 1
    if find_row(users, batch.user[b]) < 0:
        frame.counters[UNKNOWN_USERS] += 1


class Folded(NamedTuple):
    """Everything that folding a micro-batch reads and writes."""

    frame: Frame
    seen: Fifo
    users: Rows
    items: Rows
    users_last_position: Any
    users_budget: Any
    users_budget_at_ms: Any
    items_last_position: Any
    decisions: Decisions
    slots: Slots
    learners: Learners
    journal: Journal
    batch: Batch
    rules: Rules
    knobs: Any  # [attribution window ms, late weight, user budget per hour]


@counting_kernel
def fold_batch(first: int, last: int, held: Any) -> int:
    """Fold records first … last - 1 of the batch, in place; the number of the one that it stopped before, because a
    table has no room for it, or `last`. held: a Folded, held (`online.held`)."""
    return _fold_records(first, last, held.value)


@kernel
def _fold_records(first: int, last: int, folded: Any) -> int:
    (
        frame,
        seen,
        users,
        items,
        users_last_position,
        users_budget,
        users_budget_at_ms,
        items_last_position,
        decisions,
        slots,
        learners,
        journal,
        batch,
        rules,
        knobs,
    ) = folded
    window_ms = int(knobs[0])
    for b in range(first, last):
        kind = batch.kind[b]
        if kind == EVENT:
            if room(users) == 0 and find_row(users, batch.user[b]) < 0:
                return b
            if room(items) == 0 and find_row(items, batch.item[b]) < 0:
                return b
        elif kind == DECISION:
            slots_from, slots_to = batch.first_slot[b], batch.first_slot[b + 1]
            if room(items) < SLATE_MAX and unknown_items(items, batch, slots_from, slots_to) > room(items):
                return b
        frame.position[0] = batch.position[b]

        if kind == EVENT or kind == DECISION:
            frame.watermark_ms[0] = max(frame.watermark_ms[0], batch.at_ms[b])
            while window_closed(decisions, frame.watermark_ms[0], window_ms):
                close_oldest(frame, decisions, slots, learners, journal)

        if kind == DECISION:
            if find(decisions.ring, batch.key[b]) >= 0:
                # A retry of a request that had been answered: the first answer stands.
                frame.counters[DECISIONS_REPEATED] += 1
                continue
            while must_close(decisions, slots, slots_to - slots_from):
                close_oldest(frame, decisions, slots, learners, journal)
                frame.counters[CLOSED_EARLY] += 1
            remember_decision(frame, users, items, items_last_position, decisions, slots, journal, batch, b)
            continue

        if kind != EVENT:
            frame.counters[RECEIVED] += batch.tally[b, 0] + batch.tally[b, 1]
            frame.counters[DUPLICATE] += batch.tally[b, 0]
            frame.counters[REJECTED] += batch.tally[b, 1]
            continue

        frame.counters[RECEIVED] += 1
        if find(seen, batch.key[b]) >= 0:
            frame.counters[DUPLICATE] += 1
            continue
        push(seen, batch.key[b])
        event_type, value = batch.event_type[b], batch.value[b]
        if event_type < 0:
            # A type that these settings do not know, written under others.
            frame.counters[REJECTED] += 1
            continue

        user = known_or_new(users, batch.user[b])
        item = known_or_new(items, batch.item[b])
        users_last_position[user] = batch.position[b]
        items_last_position[item] = batch.position[b]
        touch(journal.users, user)
        touch(journal.items, item)

        late = False
        if batch.decision[b] != 0:
            slot = open_slot(decisions, slots, batch.decision[b], item)
            reward = reward_of(rules, event_type, value)
            late = slot == -1
            if slot >= 0 and reward == reward:
                slots.reward[slot % slots.item.shape[0]] = reward
                frame.counters[REWARDS] += 1
        frame.counters[LATE if late else APPLIED] += 1

        weight = taken_weight(rules, event_type, value)
        if weight > 0.0:
            weight *= user_weight(users_budget, users_budget_at_ms, user, batch.at_ms[b], knobs[2])
            if late:
                weight *= knobs[1]
            popular = 0.0
            if batch.decision[b] == 0 and taken_lately(learners.users, user, item):
                weight *= REPEATED  # and is not popular for it; out of a slate a decision bounds what can be said again
            elif frame.learning[0] == 1:
                popular = popular_weight(decisions.takes, batch.decision[b] != 0, weight, learners.knobs.slate_weight)
            loss = observe(
                learners,
                journal,
                user,
                item,
                batch.at_ms[b],
                batch.context[b],
                weight,
                popular,
                frame.learning[0] == 1,
            )
            if loss >= 0.0:
                frame.monitor[0] += 1.0
                frame.monitor[1] += loss
    return last
