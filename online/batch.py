"""A micro-batch: records as columns, so that one call of the kernel folds hundreds of them.

How records are cut into batches is no input of the fold: the kernel goes through them one by one.
"""

from typing import Any, NamedTuple

import numpy as np

from online.chance import hash64
from online.records import Decision, Event, Tally, unpack_floats
from online.settings import CONTEXT_FEATURES_MAX, SLATE_MAX, Settings

LENGTH = 1024
EVENT, DECISION, TALLY = 1, 2, 3


class Batch(NamedTuple):
    """Columns of up to LENGTH records; keys are hash64 of ids, 0 where there is none."""

    kind: np.ndarray[Any, np.dtype[np.uint8]]  # [LENGTH]
    position: np.ndarray[Any, np.dtype[np.int64]]  # [LENGTH]
    at_ms: np.ndarray[Any, np.dtype[np.int64]]  # [LENGTH]
    key: np.ndarray[Any, np.dtype[np.uint64]]  # [LENGTH] event id or decision id
    user: np.ndarray[Any, np.dtype[np.uint64]]  # [LENGTH]
    item: np.ndarray[Any, np.dtype[np.uint64]]  # [LENGTH]
    decision: np.ndarray[Any, np.dtype[np.uint64]]  # [LENGTH] that the event answers
    event_type: np.ndarray[Any, np.dtype[np.int64]]  # [LENGTH] number in the rules, -1 unknown
    value: np.ndarray[Any, np.dtype[np.float64]]  # [LENGTH] nan is none
    context: np.ndarray[Any, np.dtype[np.uint64]]  # [LENGTH, CONTEXT_FEATURES_MAX]
    arm: np.ndarray[Any, np.dtype[np.int64]]  # [LENGTH]
    tally: np.ndarray[Any, np.dtype[np.int64]]  # [LENGTH, 2] duplicate, rejected
    first_slot: np.ndarray[Any, np.dtype[np.int64]]  # [LENGTH + 1]
    slot_item: np.ndarray[Any, np.dtype[np.uint64]]  # [LENGTH * SLATE_MAX]
    slot_propensity: np.ndarray[Any, np.dtype[np.float32]]  # [LENGTH * SLATE_MAX]


class Rules(NamedTuple):
    """The reward table as arrays, by event type's number; nan where a rule says nothing."""

    reward: np.ndarray[Any, np.dtype[np.float64]]
    per_value: np.ndarray[Any, np.dtype[np.float64]]
    taken: np.ndarray[Any, np.dtype[np.float64]]
    taken_from: np.ndarray[Any, np.dtype[np.float64]]


def rules(settings: Settings) -> Rules:
    """The reward table of `settings`, event types in their order there."""
    nan = float("nan")
    table = settings.events.values()
    return Rules(
        reward=np.array([nan if r.reward is None else r.reward for r in table]),
        per_value=np.array([r.reward_per_value for r in table]),
        taken=np.array([r.taken for r in table]),
        taken_from=np.array([nan if r.taken_from is None else r.taken_from for r in table]),
    )


def context_keys(context: dict[str, str] | None) -> list[int]:
    """Keys of a context's features, in order of their names, at most CONTEXT_FEATURES_MAX of them."""
    if not context:
        return []
    return [hash64(f"{name}={context[name]}") for name in sorted(context)[:CONTEXT_FEATURES_MAX]]


class BatchBuilder:
    """Fills a Batch record by record. `ids` names the items seen in it, for those that turn out to be new."""

    def __init__(self, settings: Settings) -> None:
        self.types = {name: number for number, name in enumerate(settings.events)}
        self.length = 0
        self.ids: dict[int, str] = {}
        self._keys: dict[str, int] = {}
        self.batch = Batch(
            kind=np.zeros(LENGTH, np.uint8),
            position=np.zeros(LENGTH, np.int64),
            at_ms=np.zeros(LENGTH, np.int64),
            key=np.zeros(LENGTH, np.uint64),
            user=np.zeros(LENGTH, np.uint64),
            item=np.zeros(LENGTH, np.uint64),
            decision=np.zeros(LENGTH, np.uint64),
            event_type=np.zeros(LENGTH, np.int64),
            value=np.zeros(LENGTH, np.float64),
            context=np.zeros((LENGTH, CONTEXT_FEATURES_MAX), np.uint64),
            arm=np.zeros(LENGTH, np.int64),
            tally=np.zeros((LENGTH, 2), np.int64),
            first_slot=np.zeros(LENGTH + 1, np.int64),
            slot_item=np.zeros(LENGTH * SLATE_MAX, np.uint64),
            slot_propensity=np.zeros(LENGTH * SLATE_MAX, np.float32),
        )

    @property
    def full(self) -> bool:
        """Whether no further record fits."""
        return self.length == LENGTH

    def _item_key(self, item_id: str) -> int:
        key = self._keys.get(item_id)
        if key is None:
            if len(self._keys) >= 1 << 16:
                self._keys.clear()
            key = self._keys[item_id] = hash64(item_id)
        self.ids[key] = item_id
        return key

    def _context(self, row: int, context: dict[str, str] | None) -> None:
        target = self.batch.context[row]
        target[:] = 0
        for k, key in enumerate(context_keys(context)):
            target[k] = key

    def add_event(self, position: int, event: Event) -> None:
        """Append an event."""
        batch, row = self.batch, self.length
        batch.kind[row] = EVENT
        batch.position[row] = position
        batch.at_ms[row] = event.at_ms
        batch.key[row] = hash64(event.event_id)
        batch.user[row] = hash64(event.user_id)
        batch.item[row] = self._item_key(event.item_id)
        batch.decision[row] = hash64(event.decision_id) if event.decision_id else 0
        batch.event_type[row] = self.types.get(event.event_type, -1)
        batch.value[row] = float("nan") if event.value is None else event.value
        self._context(row, event.context)
        self._close(row, batch.first_slot[row])

    def add_decision(self, position: int, decision: Decision) -> None:
        """Append a decision."""
        batch, row = self.batch, self.length
        batch.kind[row] = DECISION
        batch.position[row] = position
        batch.at_ms[row] = decision.at_ms
        batch.key[row] = hash64(decision.decision_id)
        batch.user[row] = hash64(decision.user_id)
        batch.arm[row] = decision.arm
        self._context(row, decision.context)
        first = int(batch.first_slot[row])
        n = min(len(decision.item_ids), SLATE_MAX)
        for k in range(n):
            batch.slot_item[first + k] = self._item_key(decision.item_ids[k])
        batch.slot_propensity[first : first + n] = unpack_floats(decision.propensities)[:n]
        self._close(row, first + n)

    def add_tally(self, position: int, tally: Tally) -> None:
        """Append a tally."""
        batch, row = self.batch, self.length
        batch.kind[row] = TALLY
        batch.position[row] = position
        batch.tally[row] = (tally.duplicate, tally.rejected)
        self._close(row, batch.first_slot[row])

    def _close(self, row: int, next_slot: int | np.int64) -> None:
        self.batch.first_slot[row + 1] = next_slot
        self.length = row + 1

    def clear(self) -> None:
        """Empty the batch."""
        self.length = 0
        self.ids.clear()
