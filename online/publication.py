"""From the learner to the API's workers: the state's served columns in shared memory, at a position that holds still.

Two sides hold the same columns. The learner writes the rows that moved into the side that is not in front, then turns
the front to it. A worker reads the front side and checks afterwards that nobody began to write it meanwhile: its
decision then saw one position and no other, without a lock, and without the learner ever waiting for it.

    control:  generation | writing | version | position | …      one page of int64, stores are atomic
    layout-G.json, arena-G-0, arena-G-1                           a new generation G where arrays have moved

Measured before choosing: a double buffer without the check tore 125 of 646,000 reads, with it none (x86-64).
"""

import json
import mmap
import os
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from online.compiling import kernel
from online.journal import Journal, taken
from online.pricing.selling import Moved
from online.settings import settings_text
from online.state import COLUMNS, State
from online.state import TEXTS as STATE_TEXTS
from online.tables import Array, Arrays, Column

CONTROL_WORDS = 512
(
    GENERATION,
    WRITING,
    VERSION,
    POSITION,
    PUBLISHED_AT_MS,
    LEARNING,
    DIGEST_ASKED,
    DIGEST_ANSWERED,
    DIGEST_POSITION,
    DIGEST_LOW,
    DIGEST_HIGH,
    FRESHNESS_P50_US,
    FRESHNESS_P99_US,
    HEARTBEAT_MS,
) = range(14)
MONITORS = 64  # from this word on: float64 figures of the learner's monitors
MONITORS_MAX = 64
HISTOGRAM = 128  # from this word on: events by milliseconds from acknowledgement to publication
HISTOGRAM_BINS = 256
ALIGNMENT = 64
SERVED: tuple[Column, ...] = tuple(column for column in COLUMNS if column.served)
RINGS = ("seen", "decisions", "quotes")
JOURNALLED = (*Journal._fields, *Moved._fields)
HASHED = ("users", "items", *Moved._fields, *RINGS)
TEXTS = tuple(f"{name}_text" for name in STATE_TEXTS)
FIXED = ("cells", "cells_start", "cells_rows")  # as the artifact has them: written once for a generation
NO_ROWS = np.zeros(0, np.int32)


class LearnerNotReady(Exception):
    """No learner has published yet, or none is there."""


def shared_folder(home: Path) -> Path:
    """Where this home's shared memory lies: in memory where the system has /dev/shm, else in the home itself."""
    name = blake2b(str(home.resolve()).encode(), digest_size=8).hexdigest()
    memory = Path("/dev/shm")
    return memory / f"perennial-{os.getuid()}-{name}" if memory.is_dir() else home / "run" / "shared"


def open_control(folder: Path, *, create: bool = False) -> Array:
    """The control page, [CONTROL_WORDS] int64, shared. Raises LearnerNotReady where it is not there."""
    path = folder / "control"
    if create:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(path, "ab") as file:
            file.truncate(CONTROL_WORDS * 8)
    try:
        with open(path, "r+b") as file:
            return np.frombuffer(mmap.mmap(file.fileno(), CONTROL_WORDS * 8), np.int64)
    except (OSError, ValueError) as error:
        raise LearnerNotReady(f"no learner has published under {folder}") from error


def sign_of_life_ms(home: Path) -> int:
    """When the learner of this home last gave one; 0 where none has published."""
    try:
        return int(open_control(shared_folder(home))[HEARTBEAT_MS])
    except LearnerNotReady:
        return 0


def monitors(control: Array) -> Array:
    """The figures of the learner's monitors, [MONITORS_MAX] float64, a view."""
    return control[MONITORS : MONITORS + MONITORS_MAX].view(np.float64)


def histogram(control: Array) -> Array:
    """Events published by milliseconds since their acknowledgement, [HISTOGRAM_BINS], the last open-ended; a view."""
    return control[HISTOGRAM : HISTOGRAM + HISTOGRAM_BINS]


def map_arena(path: Path, layout: dict[str, Any], *, writable: bool) -> Arrays:
    """The arrays of one side, by column name."""
    access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
    with open(path, "r+b" if writable else "rb") as file:
        buffer = mmap.mmap(file.fileno(), layout["bytes"], access=access)
    return {
        name: np.frombuffer(buffer, np.dtype(dtype), count=int(np.prod(shape)), offset=offset).reshape(shape)
        for name, (offset, dtype, shape) in layout["columns"].items()
    }


@kernel
def copy_rows(target: Any, source: Any, rows: Any) -> None:
    """target[rows] = source[rows], both u1 [rows, bytes of one]."""
    for k in range(rows.shape[0]):
        row = rows[k]
        for byte in range(source.shape[1]):
            target[row, byte] = source[row, byte]


class _Copy(NamedTuple):
    """A served column as its copying takes it: rows of bytes, but for what is copied whole."""

    table: str
    source: Array
    targets: tuple[Array, Array]


def _copy_plan(column: Column, source: Array, sides: list[Arrays]) -> _Copy:
    by_rows = column.table in (*JOURNALLED, *RINGS) or column.table.removesuffix("_head") in HASHED

    def shaped(array: Array) -> Array:
        return array.reshape(array.shape[0], -1).view(np.uint8) if by_rows else array

    first, second = (shaped(side[column.name]) for side in sides)
    return _Copy(column.table, shaped(source), (first, second))


class Publisher:
    """The learner's end. One at a time for a folder; a new one takes the next generation."""

    def __init__(self, folder: Path, state: State, *, artifacts: Path | None = None) -> None:
        """`artifacts`: the folder that holds the state's artifact, under its id."""
        self.folder = folder
        self._artifacts = artifacts
        self.lineage_at = 0  # position of the newest act that changed the past: workers are told
        self.control = open_control(folder, create=True)
        self._state = state
        self._state_generation = -1
        self.watch: Callable[[dict[str, Array | None]], None] | None = None  # is told of every row that moved
        self._copies: list[_Copy] = []
        self._before: dict[str, Array | None] = {}
        self._counts: list[dict[str, int]] = [{}, {}]
        self.publish()

    def adopt(self, state: State) -> None:
        """Show another state from the next publication on, all of it at once: an act has changed the past."""
        self._state = state
        self._state_generation = -1

    def publish(self) -> None:
        """Show the state as it is now to the workers."""
        state, control = self._state, self.control
        if state.generation != self._state_generation:
            self._publish_whole()
            return
        rows = {name: taken(journal) for name, journal in state.journals().items()}
        if self.watch:
            self.watch(rows)
        version = int(control[VERSION]) + 1
        side = version & 1
        control[WRITING] = version
        self._copy(side, rows)
        self._before = rows
        self._finish(version)

    def _finish(self, version: int) -> None:
        state, control = self._state, self.control
        control[POSITION] = state.position
        control[LEARNING] = state.views.frame.learning[0]
        control[PUBLISHED_AT_MS] = control[HEARTBEAT_MS] = time.time_ns() // 1_000_000
        control[VERSION] = version

    def _copy(self, side: int, moved: dict[str, Array | None]) -> None:
        """Bring a side up to date: it misses what moved now, and what moved at the publication before."""
        counts = self._counts[side]
        rows = {table: (some, self._before[table]) for table, some in moved.items()}
        for ring in RINGS:
            rows[ring] = (self._new_in_ring(ring, counts[ring]), NO_ROWS)
        buckets: dict[str, tuple[Array | None, Array | None]] = {}
        for table, parts in rows.items():
            key = self._state.arrays[f"{table}.key"]
            if table in HASHED:
                mask = np.uint64(self._state.arrays[f"{table}_head.head"].shape[0] - 1)
                first, second = (None if some is None else (key[some] & mask).astype(np.int32) for some in parts)
                buckets[f"{table}_head"] = (first, second)
        rows |= buckets
        for copy in self._copies:
            target = copy.targets[side]
            if copy.table in rows:
                for some in rows[copy.table]:
                    if some is None:
                        target[...] = copy.source
                    elif some.size:
                        copy_rows(target, copy.source, some)
            elif copy.table in TEXTS:
                used = int(self._state.arrays[f"{copy.table}_used.used"][0])
                target[counts[copy.table] : used] = copy.source[counts[copy.table] : used]
            else:
                target[...] = copy.source
        self._note_counts(side)

    def _new_in_ring(self, ring: str, known: int) -> Array:
        capacity = self._state.arrays[f"{ring}.key"].shape[0]
        count = int(self._state.arrays[f"{ring}_count.count"][0])
        rows: Array = (np.arange(max(known, count - capacity), count) % capacity).astype(np.int32)
        return rows

    def _note_counts(self, side: int) -> None:
        arrays = self._state.arrays
        self._counts[side] = {ring: int(arrays[f"{ring}_count.count"][0]) for ring in RINGS} | {
            blob: int(arrays[f"{blob}_used.used"][0]) for blob in TEXTS
        }

    def _publish_whole(self) -> None:
        """A new generation: arrays have moved, so both sides are laid out and written again."""
        state, control = self._state, self.control
        generation = int(control[GENERATION]) + 1
        columns: dict[str, tuple[int, str, list[int]]] = {}
        offset = 0
        for column in SERVED:
            array = state.arrays[column.name]
            columns[column.name] = (offset, array.dtype.str, list(array.shape))
            offset += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        layout = {
            "bytes": max(offset, 1),
            "columns": columns,
            "artifact_id": state.artifact_id,
            "artifact_folder": self._artifact_folder(state.artifact_id),
            "pricing_artifact_id": state.pricing_artifact_id,
            "pricing_artifact_folder": self._artifact_folder(state.pricing_artifact_id),
            "lineage_at": self.lineage_at,
            "settings": settings_text(state.settings),
        }
        sides = []
        for side in (0, 1):
            path = self.folder / f"arena-{generation}-{side}"
            with open(path, "wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.truncate(layout["bytes"])  # type: ignore[arg-type]
            sides.append(map_arena(path, layout, writable=True))
            for column in SERVED:
                sides[side][column.name][...] = state.arrays[column.name]
        temporary = self.folder / f"layout-{generation}.json.new"
        temporary.write_text(json.dumps(layout))
        temporary.rename(self.folder / f"layout-{generation}.json")
        for name, journal in state.journals().items():
            taken(journal)
            self._before[name] = NO_ROWS
        if self.watch:
            self.watch(dict.fromkeys(state.journals()))
        self._copies = [
            _copy_plan(column, state.arrays[column.name], sides) for column in SERVED if column.table not in FIXED
        ]
        for side in (0, 1):
            self._note_counts(side)
        self._state_generation = state.generation
        version = int(control[VERSION]) + 1
        control[WRITING] = version
        control[GENERATION] = generation
        self._finish(version)
        self._remove_before(generation - 1)

    def _artifact_folder(self, artifact_id: str) -> str:
        if self._artifacts is None or not artifact_id:
            return ""
        return str((self._artifacts / artifact_id).resolve())

    def _remove_before(self, generation: int) -> None:
        """Unlink arenas that no new reader will open; who has them mapped keeps them."""
        for path in self.folder.iterdir():
            parts = path.name.removesuffix(".json").split("-")
            if parts[0] in ("arena", "layout") and parts[1].isdigit() and int(parts[1]) < generation:
                path.unlink(missing_ok=True)

    def answer_digest(self) -> None:
        """Compute the digest where a worker has asked for one since the last time."""
        control = self.control
        asked = int(control[DIGEST_ASKED])
        if asked == control[DIGEST_ANSWERED]:
            return
        words = np.frombuffer(bytes.fromhex(self._state.digest()), np.int64)
        control[DIGEST_LOW], control[DIGEST_HIGH] = words
        control[DIGEST_POSITION] = self._state.position
        control[DIGEST_ANSWERED] = asked

    def close(self) -> None:
        """Take the shared memory away: the service stops."""
        for path in list(self.folder.iterdir()):
            path.unlink(missing_ok=True)
        self.folder.rmdir()
