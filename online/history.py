"""Any state that one log ever had: nearest snapshot of its lineage, and the records after it.

A `History` reads; a `Timeline` is one state that moves on with the log and carries out the acts that change its past.
Both come to the same state at the same position, because it is a function of artifact and log alone.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from online.artifact import Artifact, read_artifact
from online.fold import Fold, LogForeign
from online.lineage import Lineage, Lineages, Segment, Sieve, changes_past
from online.records import Act, Begin, Record, decode
from online.settings import Settings, read_settings
from online.snapshot import Snapshot, SnapshotCorrupt, SnapshotForeign, load_snapshot, newest_first
from online.state import State
from online.tables import Arrays

READ_MAX = 1024
NEAR = 2_000  # records that are sooner folded than a snapshot is looked for and read
_ACT = b"\xa2a1"  # the tag of an act behind the one byte of its array's length
Progress = Callable[[int], None]


class Entries(Protocol):
    """What is asked of a log: its records by position."""

    def read(self, after: int, count: int, block_ms: int) -> list[tuple[int, bytes]]: ...

    def entry(self, position: int) -> bytes | None: ...

    def head(self) -> int: ...


class PositionUnknown(ValueError):
    """A position that the log does not have, or a time before it began; says what there is instead."""


class Place(NamedTuple):
    """A state and the lineage that it is the fold of."""

    state: State
    lineage: Lineage
    snapshot: Snapshot | None = None  # that it was built on


class Kept(NamedTuple):
    """A copy of a state that was passed, to go on from it once more."""

    lineage: Lineage
    arrays: Arrays


def artifacts_of(home: Path, *known: Artifact) -> Callable[[str], Artifact | None]:
    """Artifacts by id, out of a home's folder or those already read. "" is none. Raises ArtifactMissing, …Corrupt."""
    read = {artifact.id: artifact for artifact in known}

    def find(artifact_id: str) -> Artifact | None:
        if not artifact_id:
            return None
        if artifact_id not in read:
            read[artifact_id] = read_artifact(home / "artifacts" / artifact_id)
        return read[artifact_id]

    return find


class History:
    """One log's past. `snapshots` None builds everything from the artifact, as a proof does."""

    def __init__(
        self, reader: Entries, artifacts: Callable[[str], Artifact | None], *, snapshots: Path | None = None
    ) -> None:
        payload = reader.entry(1)
        first = decode(payload) if payload is not None else None
        if not isinstance(first, Begin):
            raise LogForeign("the log does not start with its beginning: it was trimmed, or it is not this service's")
        self.reader = reader
        self.artifacts = artifacts
        self.snapshots = snapshots
        self.begun_from = first.artifact_id
        self.pricing_from = first.pricing_artifact_id
        self.settings: Settings = read_settings(first.settings)
        self.lineages = Lineages(first.artifact_id)
        self.scanned = 0  # acts up to here are known
        self.kept: list[Kept] = []
        self.passed_over: list[str] = []  # snapshots that were not what their manifests say
        self._take_known_acts()

    def _take_known_acts(self) -> None:
        if self.snapshots is None:
            return
        for snapshot in newest_first(self.snapshots):
            if isinstance(snapshot, Snapshot) and not snapshot.planned and snapshot.position <= self.reader.head():
                self.lineages = Lineages.of(self.begun_from, snapshot.acts)
                self.scanned = snapshot.position
                return

    # Which records -------------------------------------------------------------------------------------------------

    def scan(self, until: int) -> None:
        """Learn of the acts up to a position: a look at each record's tag, no more."""
        while self.scanned < until:
            entries = self.reader.read(self.scanned, min(READ_MAX, until - self.scanned), 0)
            if not entries:
                raise PositionUnknown(f"the log ends at {self.scanned}: there is no position {until} yet")
            for position, payload in entries:
                if payload[1:4] == _ACT:
                    act = decode(payload)
                    assert isinstance(act, Act)
                    self.note(position, act)
            self.scanned = max(self.scanned, entries[-1][0])

    def note(self, position: int, act: Act) -> Lineage | None:
        """Take an act that was read anyway; the lineage that it begins, if it does."""
        if position <= self.lineages.newest_act:
            return None
        return self.lineages.note(position, act)

    def lineage_at(self, position: int) -> Lineage:
        """What the state at a position is the fold of. Raises PositionUnknown."""
        if position < 1:
            raise PositionUnknown(f"positions begin at 1, got {position}")
        self.scan(position)
        return self.lineages.at(position)

    def records(self, segments: Iterable[Segment]) -> Iterator[tuple[list[tuple[int, Record]], int]]:
        """The records of some stretches, in pieces and without what the cuts name, and where each piece ends."""
        for segment in segments:
            sieve = Sieve(segment.without) if segment.without else None
            place = segment.first - 1
            while place < segment.last:
                entries = self.reader.read(place, min(READ_MAX, segment.last - place), 0)
                if not entries:
                    raise LogForeign(f"the log ends at {place}, before position {segment.last}")
                records = [(position, decode(payload)) for position, payload in entries]
                place = entries[-1][0]
                if sieve is not None:
                    records = [(p, record) for p, record in records if not sieve.removes(p, record)]
                yield records, place

    def position_at(self, time_ms: int) -> int:
        """The last position received by a time. Raises PositionUnknown where the log begins after it."""
        low, high = 0, self.reader.head()
        while low < high:
            middle = (low + high + 1) // 2
            payload = self.reader.entry(middle)
            if payload is not None and decode(payload).received_ms <= time_ms:
                low = middle
            else:
                high = middle - 1
        if low < 1:
            raise PositionUnknown("the log begins after that time")
        return low

    def empty(self, artifact_id: str, pricing_id: str = "") -> State:
        """The state before the first record, on these artifacts; "" of pricing's is the one that the log began from."""
        pricing = self.artifacts(pricing_id or self.pricing_from)
        return State(self.settings, self.artifacts(artifact_id), pricing=pricing)

    def folding(self, state: State) -> Fold:
        """What folds on from a state, whichever artifacts it stands on."""
        return Fold(
            state,
            promoted=state.artifact_id != self.begun_from,
            pricing_promoted=state.pricing_artifact_id != self.pricing_from,
        )

    def load(self, folder: Path, snapshot: Snapshot) -> State:
        """The state of a snapshot. Raises SnapshotCorrupt, SnapshotForeign."""
        pricing = self.artifacts(snapshot.pricing_artifact_id)
        return load_snapshot(folder, snapshot, self.artifacts(snapshot.artifact_id), pricing=pricing)

    # States --------------------------------------------------------------------------------------------------------

    def state_at(self, position: int, *, progress: Progress | None = None, near: Place | None = None) -> Place:
        """The state at a position; `near` is used up where it lies on the way. Raises PositionUnknown, LogForeign."""
        place = self.build(self.lineage_at(position), progress=progress, near=near)
        place.state.views.frame.position[0] = position
        return place

    def build(self, lineage: Lineage, *, progress: Progress | None = None, near: Place | None = None) -> Place:
        """The fold of a lineage, from the nearest state that it continues."""
        return self.advanced(self._nearest(lineage, near), lineage, progress=progress)

    def advanced(self, place: Place, lineage: Lineage, *, progress: Progress | None = None) -> Place:
        """Fold on to a lineage that continues the place's own."""
        state = place.state
        fold = self.folding(state)
        for records, reached in self.records(lineage.beyond(place.lineage.last)):
            fold.entries(records, holes=True)
            if progress:
                progress(reached)
        return Place(state, lineage, place.snapshot)

    def keep(self, lineage: Lineage, state: State) -> None:
        """Keep a copy of a state in memory."""
        self.kept.append(Kept(lineage, {name: array.copy() for name, array in state.canonical()}))

    def _nearest(self, lineage: Lineage, near: Place | None) -> Place:
        reached = near.lineage.last if near is not None and near.lineage.begins(lineage) else -1
        if self.snapshots is not None and (reached < 0 or lineage.last - reached > NEAR):
            usable = [
                found
                for found in newest_first(self.snapshots)
                if isinstance(found, Snapshot) and found.lineage.begins(lineage) and found.lineage.last > reached
            ]
            for snapshot in sorted(usable, key=lambda s: s.lineage.last, reverse=True):
                try:
                    state = self.load(self.snapshots, snapshot)
                except (SnapshotCorrupt, SnapshotForeign) as error:
                    self.passed_over.append(str(error))
                    continue
                state.views.frame.position[0] = snapshot.lineage.last
                return Place(state, snapshot.lineage, snapshot)
        if kept := [one for one in self.kept if one.lineage.begins(lineage) and one.lineage.last > reached]:
            best = max(kept, key=lambda one: one.lineage.last)
            state = self.empty(best.lineage.artifact_id, best.lineage.pricing_id)
            state.load(best.arrays)
            state.views.frame.position[0] = best.lineage.last
            return Place(state, best.lineage)
        if near is not None and reached >= 0:
            near.state.views.frame.position[0] = near.lineage.last
            return near
        return Place(self.empty(lineage.artifact_id, lineage.pricing_id), lineage.until(0))


class Timeline:
    """One state, moving on with its log; where an act changes the past, another state takes its place.

    `switched` grows with every such change: who holds the state must look for the new one.
    """

    def __init__(self, history: History, state: State) -> None:
        self.history = history
        self.state = state
        self.switched = 0
        self._fold = history.folding(state)

    @property
    def position(self) -> int:
        return self.state.position

    @property
    def lineage(self) -> Lineage:
        """What the state is the fold of."""
        return self.history.lineages.at(self.position)

    def entries(self, entries: list[tuple[int, bytes]], *, progress: Progress | None = None) -> list[Record]:
        """Fold the log's next entries, acts on the past among them. Raises LogForeign, …; the records."""
        records = [(position, decode(payload)) for position, payload in entries]
        waiting: list[tuple[int, Record]] = []
        for position, record in records:
            if not isinstance(record, Act):
                waiting.append((position, record))
                continue
            self.history.scanned = max(self.history.scanned, position)
            lineage = self.history.note(position, record)
            if not changes_past(record):
                waiting.append((position, record))
                continue
            self._fold.entries(waiting)
            waiting = []
            if lineage is None and position not in self.history.lineages.void:
                lineage = self.history.lineages.at(position)  # noted before it was folded, by a scan ahead
            if lineage is not None:
                self.state = self.history.build(lineage, progress=progress).state
                self._fold = self.history.folding(self.state)
                self.switched += 1
            self.state.views.frame.position[0] = position
        self._fold.entries(waiting)
        if records:
            self.history.scanned = max(self.history.scanned, records[-1][0])
        return [record for _, record in records]
