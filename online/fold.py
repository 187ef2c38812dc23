"""state = fold(artifact, log): with its kernel, the only place where state changes.

`fold` takes entries in the order of the log. It reads no clock, no environment, no network and no chance but the
counter-based one; so the same log gives the same digest, however it is cut into batches and wherever it is folded.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from online.batch import Batch, BatchBuilder, rules
from online.chance import hash64
from online.fifo import find, push
from online.fold_kernel import Folded, fold_batch
from online.frame import ACTS, ITEMS_EVICTED, USERS_EVICTED
from online.held import hold
from online.journal import touch
from online.pricing.fold import PricingFold
from online.pricing.records import Cancellation, FlightUpsert, Quote, QuoteOutcome, Tick
from online.recommendation.catalogue import about, describe
from online.recommendation.kinds import describe_kinds
from online.recommendation.observe import introduce
from online.records import Act, Begin, Decision, Erased, Event, ItemUpsert, Record, Tally
from online.rows import room
from online.settings import SLATE_MAX
from online.state import State
from online.views import Views


class LogForeign(ValueError):
    """A log that this state is not the fold of."""


class Fold:
    """Folds entries into one state. Keeps nothing of its own but buffers."""

    def __init__(self, state: State, *, promoted: bool = False, pricing_promoted: bool = False) -> None:
        """`promoted`: an act has put this artifact in the place of the one that the log began from."""
        self.state = state
        self._promoted = promoted
        self._pricing_promoted = pricing_promoted
        self._builder = BatchBuilder(state.settings)
        self._rules = rules(state.settings)
        self._pricing = PricingFold(state)
        settings = state.settings
        self._held_views: Views | None = None
        self._held_batch: Batch | None = None
        self._held: Any = None
        self._knobs = np.array(
            [settings.attribution_window_s * 1000.0, settings.late_weight, settings.user_budget_per_hour]
        )

    def entries(self, entries: Iterable[tuple[int, Record]], *, holes: bool = False) -> None:
        """Fold (position, record) pairs, each position one after the last. Raises LogForeign on a gap.

        `holes`: records were cut out on purpose, so positions only have to ascend.
        """
        expected = self.state.position + 1
        for position, record in entries:
            if position < expected or (position > expected and not holes):
                raise LogForeign(f"the next record must stand at position {expected}, found {position}")
            expected = position + 1
            self._entry(position, record)
        self._flush()

    def columns(self, fill: Callable[[BatchBuilder, int], None]) -> None:
        """Fold what `fill(builder, next position)` puts into an empty batch: records that were columns all along."""
        fill(self._builder, self.state.position + 1)
        self._flush()

    def _entry(self, position: int, record: Record) -> None:
        builder = self._builder
        match record:
            case Event():
                builder.add_event(position, record)
            case Decision():
                builder.add_decision(position, record)
            case Tally():
                builder.add_tally(position, record)
            case ItemUpsert():
                self._flush()
                self._upsert(position, record)
            case Act():
                self._flush()
                self._act(position, record)
            case FlightUpsert() | Quote() | QuoteOutcome() | Cancellation() | Tick():
                self._flush()
                self._pricing.record(position, record)
            case Begin():
                self._begin(position, record)
            case Erased():
                self._flush()
                self.state.views.frame.position[0] = position
        if builder.full:
            self._flush()

    def _begin(self, position: int, record: Begin) -> None:
        state = self.state
        begins = record.artifact_id == state.artifact_id or self._promoted
        fares_begin = record.pricing_artifact_id == state.pricing_artifact_id or self._pricing_promoted
        if position != 1 or not begins or not fares_begin:
            raise LogForeign(
                f"the log begins from artifacts {record.artifact_id or 'none'} and "
                f"{record.pricing_artifact_id or 'none'}, this state from {state.artifact_id or 'none'} and "
                f"{state.pricing_artifact_id or 'none'}"
            )
        state.views.frame.position[0] = position

    def _act(self, position: int, record: Act) -> None:
        frame, seen = self.state.views.frame, self.state.views.seen
        frame.position[0] = position
        if record.act_id:
            key = np.uint64(hash64(f"act {record.act_id}"))
            if find(seen, key) >= 0:
                return
            push(seen, key)
        match record.act:
            case "freeze":
                frame.learning[0] = 0
            case "resume":
                # What came while frozen was logged and moved its user's own state; shared parameters go on from here.
                frame.learning[0] = 1
            case "rules":
                self._pricing.change_rules(position, record.arguments)
            case _:
                raise LogForeign(f"position {position} holds the act {record.act!r}, which this version does not know")
        frame.counters[ACTS] += 1

    def _upsert(self, position: int, record: ItemUpsert) -> None:
        state = self.state
        key = hash64(record.item_id)
        row = state.item_row(key)
        if row < 0:
            self._make_room("items", 1)
            row = state.add_item(key, record.item_id)
        describe(state.views.catalogue, state.settings, row, record)
        describe_kinds(state.views.learners.kinds, state.views.learners.items, row, record.features)
        state.describe_item(row, about(record))
        if state.views.frame.learning[0] == 1:
            introduce(state.views.learners, row, int(state.views.frame.watermark_ms[0]))
        state.arrays["items.last_position"][row] = position
        touch(state.journal.items, row)
        state.views.frame.position[0] = position

    def _make_room(self, table: str, rows: int) -> None:
        """Room for at least one row: by growth up to the table's greatest size, then by eviction."""
        state = self.state
        state.ensure(table, rows)
        if room(state.index(table)) == 0:
            evicted = state.evict(table)
            state.views.frame.counters[USERS_EVICTED if table == "users" else ITEMS_EVICTED] += evicted

    def _flush(self) -> None:
        builder, state = self._builder, self.state
        first = 0
        while first < builder.length:
            slots = int(builder.batch.first_slot[builder.length] - builder.batch.first_slot[first])
            state.ensure("users", builder.length - first)
            state.ensure("items", builder.length - first + slots)
            known = state.count("items")
            free = int(state.views.items.freed[0])
            first = fold_batch(first, builder.length, self.held(builder.batch))
            self._name_new_items(known, free)
            if first < builder.length:
                # The kernel stopped before a record that may need more rows than there are.
                if room(state.views.users) == 0:
                    self._make_room("users", 1)
                if room(state.views.items) < SLATE_MAX:
                    self._make_room_for_slate()
        builder.clear()

    def held(self, batch: Batch) -> Any:
        """What `fold_batch` takes: the state as it lies, the batch, and the rules. Good until an array is replaced."""
        state, views = self.state, self.state.views
        if views is not self._held_views or batch is not self._held_batch:
            self._held_views, self._held_batch = views, batch
            self._held = hold(
                Folded(
                    frame=views.frame,
                    seen=views.seen,
                    users=views.users,
                    items=views.items,
                    users_last_position=state.arrays["users.last_position"],
                    users_budget=state.arrays["users.budget"],
                    users_budget_at_ms=state.arrays["users.budget_at_ms"],
                    items_last_position=state.arrays["items.last_position"],
                    decisions=views.decisions,
                    slots=views.slots,
                    learners=views.learners,
                    journal=state.journal,
                    batch=batch,
                    rules=self._rules,
                    knobs=self._knobs,
                )
            )
        return self._held

    def _make_room_for_slate(self) -> None:
        state = self.state
        state.ensure("items", SLATE_MAX)
        while room(state.views.items) < min(SLATE_MAX, state.settings.items_max // 4):
            state.views.frame.counters[ITEMS_EVICTED] += state.evict("items")

    def _name_new_items(self, known: int, free: int) -> None:
        state, ids = self.state, self._builder.ids
        items = state.views.items
        taken = items.free[int(items.freed[0]) : free]
        for row in [*taken.tolist(), *range(known, state.count("items"))]:
            state.name_item(row, ids[int(state.views.items.key[row])])
