"""The state: every array that the fold writes, its growth, its canonical form and its digest.

`state = fold(artifact, log)` (law 1). A State knows no log and no clock; `online.fold` alone changes it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from online.artifact import Artifact
from online.fifo import reindex
from online.frame import FRAME_COLUMNS, frame_capacity
from online.hash_tree import root, tree_of
from online.journal import RowJournal, empty_journal
from online.pricing import selling
from online.pricing.arrays import PRICING_COLUMNS, begin_pool, pricing_capacity
from online.pricing.markets import load_pricing
from online.recommendation.arrays import (
    DESCRIBED,
    LEARNER_COLUMNS,
    forget_items,
    learner_capacity,
    load_artifact,
    rebuild_derived,
)
from online.recommendation.attribution import DECISION_COLUMNS, decisions_capacity
from online.recommendation.catalogue import CATALOGUE_COLUMNS
from online.rows import Rows, add_row, find_row, reindex_rows, rows_capacity, rows_columns
from online.settings import Settings
from online.tables import Array, Arrays, Column, allocate, grown, reset_row
from online.text import joined, load_joined, read_text, text, text_capacity, write_text
from online.views import bind

ROWS_AT_START = 256
TEXT_AT_START = 1 << 14
EVICTED_BY = {"flights": "departs_ms", "claims": "position"}  # the first to leave; of other tables the longest unused
EVICTED_SHARE = 64  # a full table gives back its 1/64 least recently used rows at once
TEXTS = {"id": "items", "about": "items"} | dict.fromkeys(selling.TEXTS, "flights")  # of which table
GROWING = ("users", "items", *selling.GROWING)

COLUMNS: tuple[Column, ...] = (
    *FRAME_COLUMNS,
    *rows_columns("users"),
    Column(name="users.last_position", dtype="i8"),
    Column(name="users.budget", dtype="f8", fill=-1.0),  # -1: full
    Column(name="users.budget_at_ms", dtype="i8"),
    *CATALOGUE_COLUMNS,
    *DECISION_COLUMNS,
    *LEARNER_COLUMNS,
    *PRICING_COLUMNS,
    *selling.SELLING_COLUMNS,
)
COLUMN_BY_NAME = {column.name: column for column in COLUMNS}


class State:
    """Named arrays under one artifact and one set of settings, and the kernels' views of them."""

    def __init__(
        self,
        settings: Settings,
        artifact: Artifact | None,
        *,
        known_users: bool = True,
        pricing: Artifact | None = None,
    ) -> None:
        """An empty log's state. `known_users`: take the users over whom the artifact knows, as a service does."""
        self.settings = settings
        self.artifact_id = artifact.id if artifact else ""
        self.pricing_artifact_id = pricing.id if pricing else ""
        capacity = {
            **frame_capacity(settings),
            **rows_capacity("users", min(ROWS_AT_START, settings.users_max)),
            **rows_capacity("items", min(ROWS_AT_START, settings.items_max)),
            **decisions_capacity(settings),
            **text_capacity("id", TEXT_AT_START),
            **text_capacity("about", TEXT_AT_START),
            **learner_capacity(settings.recommendation),
            **pricing_capacity(),
            **selling.selling_capacity(settings.pricing),
        }
        self.arrays: Arrays = allocate(COLUMNS, capacity)
        self.journal = empty_journal()
        self.moved = selling.nothing_moved()
        self.generation = 0  # grows with every reallocation: who holds views must take new ones
        self.rebind()
        if artifact:
            load_artifact(self, artifact, known_users=known_users)
        if pricing:
            load_pricing(self, pricing)
        else:
            begin_pool(self.arrays)

    def rebind(self) -> None:
        """Take new views: an array was replaced, or what a view depends on."""
        self.views = bind(self.arrays, self.settings)
        self.generation += 1

    def index(self, table: str) -> Rows:
        """The rows of a growing table, by key."""
        views = self.views
        match table:
            case "users":
                return views.users
            case "items":
                return views.items
            case "markets":
                return views.selling.markets
            case "flights":
                return views.selling.flights
        return views.selling.claims.rows

    def most(self, table: str) -> int:
        """Rows that a growing table may have."""
        own = self.settings if table in ("users", "items") else self.settings.pricing
        most: int = getattr(own, f"{table}_max")
        return most

    def journals(self) -> dict[str, RowJournal]:
        """What notes the rows that were written, by table."""
        return {**self.journal._asdict(), **self.moved._asdict()}

    # What is in it -------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Log position of the last record folded."""
        return int(self.views.frame.position[0])

    def count(self, table: str) -> int:
        """Rows of a growing table that were handed out."""
        return int(self.arrays[f"{table}_count.count"][0])

    def _live(self, column: Column) -> int:
        return self.count(column.table) if column.table in GROWING else int(self.arrays[column.name].shape[0])

    def canonical(self) -> Iterator[tuple[str, Array]]:
        """(name, live rows) in order of names: all that the digest covers and a snapshot stores."""
        named: dict[str, Array] = {}
        for column in COLUMNS:
            if not column.derived:
                named[column.name] = self.arrays[column.name][: self._live(column)]
        for name, table in TEXTS.items():
            named[f"{table}.{name}_joined"] = joined(text(self.arrays, table, name), self.count(table))
        yield from sorted(named.items())

    def parameters(self) -> dict[str, Array]:
        """What learning shares between users, by name: live rows, views. Frozen learning leaves all of it as it is."""
        return {
            column.name: self.arrays[column.name][: self._live(column)]
            for column in LEARNER_COLUMNS
            if column.table != "users" and not column.derived and column.name not in DESCRIBED
        }

    def digest(self) -> str:
        """BLAKE3 over name, dtype, shape and blocks of every canonical array, and the artifacts' ids; 32 hex digits.

        The position is no part of it: a state that an act brought back has its digest back.
        """
        return root(self.identity, tree_of(dict(self.canonical())))

    @property
    def identity(self) -> str:
        """What the digest begins with: the artifacts."""
        return f"{self.artifact_id}|{self.pricing_artifact_id}"

    # Room -----------------------------------------------------------------------------------------------------------

    def ensure(self, table: str, new_rows: int) -> None:
        """Room for `new_rows` more rows, up to the table's greatest size. Capacity is no part of the state."""
        most = self.most(table)
        index = self.index(table)
        capacity = index.key.shape[0]
        needed = min(int(index.handed_out[0]) + new_rows, most)
        if needed <= capacity:
            return
        while capacity < needed:
            capacity = min(2 * capacity, most)
        self._reallocate({name: n for name, n in rows_capacity(table, capacity).items() if n > 1})
        reindex_rows(self.index(table))

    def ensure_text(self, name: str, bytes_: int) -> None:
        """Room for so many more bytes of text."""
        table = TEXTS[name]
        blob = text(self.arrays, table, name)
        if int(blob.used[0]) + bytes_ <= blob.bytes.shape[0]:
            return
        live = joined(blob, self.count(table))
        capacity = blob.bytes.shape[0]
        while capacity < 2 * (live.size + bytes_):
            capacity *= 2
        if capacity > blob.bytes.shape[0]:
            self._reallocate({f"{name}_text": capacity})
        load_joined(text(self.arrays, table, name), self.count(table), live)
        self.generation += 1

    def _reallocate(self, capacity: dict[str, int]) -> None:
        for column in COLUMNS:
            if column.table in capacity:
                self.arrays[column.name] = grown(column, self.arrays[column.name], capacity[column.table])
        self.rebind()

    def evict(self, table: str) -> int:
        """Give back the least recently used 1/64 of a full table; how many rows. References to them become -1."""
        used = np.flatnonzero(self.index(table).key[: self.count(table)])
        many = max(1, len(used) // EVICTED_SHARE)
        # Positions are distinct for all but rows that came with the artifact; those go in order of their rows.
        by = self.arrays[f"{table}.{EVICTED_BY.get(table, 'last_position')}"]
        oldest = np.argsort(by[used], kind="stable")[:many]
        gone = np.sort(used[oldest])
        for column in COLUMNS:
            if column.table == table and not column.derived:
                for row in gone:
                    reset_row(column, self.arrays[column.name], int(row))
        if table in ("items", "flights"):
            self._forget(table, gone)
        reindex_rows(self.index(table))
        self.generation += 1
        return many

    def _forget(self, table: str, gone: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        lost = np.zeros(self.index(table).key.shape[0] + 1, np.bool_)
        lost[gone] = True
        for column in COLUMNS:
            if column.refers == table:
                array = self.arrays[column.name]
                array[lost[array]] = -1  # -1 indexes the last element, which is never lost
        if table == "items":
            forget_items(self.views.learners, gone)

    # Items by id ----------------------------------------------------------------------------------------------------

    def item_row(self, key: int) -> int:
        """The item's row, or -1."""
        return int(find_row(self.views.items, np.uint64(key)))

    def item_id(self, row: int) -> str:
        """The id of the item in `row`."""
        return read_text(self.views.id_text, row)

    def add_user(self, key: int) -> int:
        """A row for a new user; the caller has made room."""
        return int(add_row(self.views.users, np.uint64(key)))

    def add_item(self, key: int, item_id: str) -> int:
        """A row for a new item; the caller has made room."""
        row = int(add_row(self.views.items, np.uint64(key)))
        self.name_item(row, item_id)
        return row

    def name_item(self, row: int, item_id: str) -> None:
        """Keep the id of an item whose row a kernel has handed out."""
        content = item_id.encode("utf-8")
        self.ensure_text("id", len(content))
        write_text(self.views.id_text, row, content)

    def describe_item(self, row: int, content: bytes) -> None:
        """Keep what is said about an item."""
        self.ensure_text("about", len(content))
        write_text(self.views.about_text, row, content)

    # From a canonical form ------------------------------------------------------------------------------------------

    def load(self, named: dict[str, Array]) -> None:
        """Take the arrays that `canonical` gave, and rebuild what is derived. Raises KeyError or ValueError where
        names or shapes do not fit."""
        for table in GROWING:
            rows_wanted = named[f"{table}.key"].shape[0]
            self.ensure(table, rows_wanted - self.count(table))
        for column in COLUMNS:
            if not column.derived:
                source = named[column.name]
                self.arrays[column.name][: source.shape[0]] = source
        for name, table in TEXTS.items():
            content = named[f"{table}.{name}_joined"]
            self.arrays[f"{name}_text_used.used"][0] = 0
            capacity = self.arrays[f"{name}_text.bytes"].shape[0]
            while capacity < content.size:
                capacity *= 2
            if capacity > self.arrays[f"{name}_text.bytes"].shape[0]:
                self._reallocate({f"{name}_text": capacity})
            load_joined(text(self.arrays, table, name), self.count(table), content)
        self.rebuild()

    def rebuild(self) -> None:
        """Derived arrays out of the others."""
        for table in GROWING:
            reindex_rows(self.index(table))
        for ring in (self.views.seen, self.views.decisions.ring, self.views.selling.quotes.ring):
            reindex(ring)
        rebuild_derived(self.views.learners)
        self.generation += 1
