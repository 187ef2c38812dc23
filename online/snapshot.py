"""A snapshot is a place in the log: a state at a position, content-addressed, every byte verified on load (law 3).

    snapshots/<id>.json             the manifest, canonical JSON: position, digests, settings, environment, reason
    snapshots/blobs/<blake3>.safetensors

A blob is written temp + fsync + rename and its folder synced before the manifest names it, so a manifest never dangles.
safetensors alone would load a flipped bit without a word; the digest of the whole file, and then of the state, do not.
"""

import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llvmlite
import msgspec
import numba
import numpy as np
from blake3 import blake3
from safetensors.numpy import load, save

from online.artifact import Artifact
from online.durable import write_durably
from online.records import SCHEMA
from online.settings import read_settings, settings_text
from online.state import State

FORMAT = 2  # 2: with pricing's tables


class SnapshotCorrupt(Exception):
    """Bytes of a snapshot are not the ones that were written. Says which file, and both digests."""

    def __init__(self, path: Path, *, expected: str, actual: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {actual}; restore the file or remove this snapshot")
        self.path, self.expected, self.actual = path, expected, actual


class SnapshotMissing(Exception):
    """No snapshot has this id; says which ones there are."""


class SnapshotForeign(Exception):
    """A snapshot of another artifact, format or schema than the one asked for."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The manifest."""

    format: int
    id: str
    position: int
    entry_digest: str  # BLAKE3 of the log's entry at `position`, 32 hex digits
    artifact_id: str
    settings: str
    schema: int
    state_digest: str
    file: str
    bytes: int
    blake3: str
    parent: str
    reason: str
    label: str
    created_ms: int
    environment: dict[str, str]
    counters: dict[str, int]
    pricing_artifact_id: str = ""


def environment() -> dict[str, str]:
    """What computed it. The digest does not depend on it; where one ever should, this says what was different."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "machine": platform.machine(),
    }


def entry_digest(payload: bytes) -> str:
    """What a snapshot remembers of the log's entry at its position."""
    return blake3(payload).hexdigest()[:32]


def write_snapshot(
    folder: Path,
    state: State,
    *,
    entry: bytes,
    reason: str,
    counters: dict[str, int],
    label: str = "",
    parent: str = "",
) -> Snapshot:
    """Write the state as it is. `entry` is the log's record at its position."""
    digest = state.digest()
    content = save({name: np.ascontiguousarray(array) for name, array in state.canonical()})
    checksum = blake3(content).hexdigest()
    snapshot = Snapshot(
        format=FORMAT,
        id=blake3(f"{state.artifact_id}|{state.pricing_artifact_id}|{state.position}|{digest}".encode()).hexdigest()[
            :16
        ],
        position=state.position,
        entry_digest=entry_digest(entry),
        artifact_id=state.artifact_id,
        settings=settings_text(state.settings),
        schema=SCHEMA,
        state_digest=digest,
        file=f"blobs/{checksum}.safetensors",
        bytes=len(content),
        blake3=checksum,
        parent=parent,
        reason=reason,
        label=label,
        created_ms=time.time_ns() // 1_000_000,
        environment=environment(),
        counters=counters,
        pricing_artifact_id=state.pricing_artifact_id,
    )
    write_durably(folder / snapshot.file, content)
    write_durably(folder / f"{snapshot.id}.json", msgspec.json.encode(snapshot, order="sorted"))
    return snapshot


def list_snapshots(folder: Path) -> list[Snapshot]:
    """All manifests, by position, the newest last. Raises SnapshotCorrupt where one is no manifest."""
    return sorted((_read_manifest(path) for path in folder.glob("*.json")), key=lambda s: (s.position, s.created_ms))


def find_snapshot(folder: Path, snapshot_id: str) -> Snapshot:
    """The manifest of this id. Raises SnapshotMissing."""
    path = folder / f"{snapshot_id}.json"
    if not snapshot_id.isalnum() or not path.exists():
        known = ", ".join(s.id for s in list_snapshots(folder)[-5:]) or "none yet"
        raise SnapshotMissing(f"no snapshot {snapshot_id!r}; the newest are: {known}")
    return _read_manifest(path)


def _read_manifest(path: Path) -> Snapshot:
    content = path.read_bytes()
    try:
        return msgspec.json.decode(content, type=Snapshot)
    except msgspec.MsgspecError as error:
        raise SnapshotCorrupt(path, expected="a manifest", actual=f"{len(content)} bytes: {error}") from error


def load_snapshot(
    folder: Path, snapshot: Snapshot, artifact: Artifact | None, *, pricing: Artifact | None = None
) -> State:
    """The state of a snapshot. Raises SnapshotCorrupt and SnapshotForeign; never a part of a state."""
    if (snapshot.format, snapshot.schema) != (FORMAT, SCHEMA):
        raise SnapshotForeign(
            f"snapshot {snapshot.id} has format {snapshot.format}, schema {snapshot.schema}; "
            f"this version reads {FORMAT} and {SCHEMA}"
        )
    for found, given in ((snapshot.artifact_id, artifact), (snapshot.pricing_artifact_id, pricing)):
        if found != (given.id if given else ""):
            raise SnapshotForeign(
                f"snapshot {snapshot.id} is of artifact {found or 'none'}, not {given.id if given else 'none'}"
            )
    path = folder / snapshot.file
    content = path.read_bytes() if path.exists() else b""
    actual = blake3(content).hexdigest()
    if actual != snapshot.blake3:
        raise SnapshotCorrupt(path, expected=snapshot.blake3, actual=actual if content else "no file")
    state = State(read_settings(snapshot.settings), artifact, pricing=pricing)
    state.load(load(content))
    digest = state.digest()
    if digest != snapshot.state_digest:
        raise SnapshotCorrupt(path, expected=f"state {snapshot.state_digest}", actual=f"state {digest}")
    return state


def newest_first(folder: Path) -> Iterator[Snapshot | SnapshotCorrupt]:
    """Manifests to try at a start, the newest first; a broken one comes as its error, to be told and passed over."""
    found: list[Snapshot] = []
    for path in folder.glob("*.json"):
        try:
            found.append(_read_manifest(path))
        except SnapshotCorrupt as error:
            yield error
    yield from sorted(found, key=lambda s: (s.position, s.created_ms), reverse=True)


def remove_old(folder: Path, *, keep: int) -> list[Snapshot]:
    """Remove all but the newest `keep` and those with a label; what was removed."""
    unlabelled = [s for s in list_snapshots(folder) if not s.label]
    gone = unlabelled[: max(0, len(unlabelled) - keep)]
    for snapshot in gone:
        (folder / f"{snapshot.id}.json").unlink(missing_ok=True)
    used = {s.file for s in list_snapshots(folder)}
    for blob in (folder / "blobs").glob("*.safetensors"):
        if f"blobs/{blob.name}" not in used:
            blob.unlink(missing_ok=True)
    return gone


def describe(snapshot: Snapshot) -> dict[str, Any]:
    """The manifest as plain values."""
    described: dict[str, Any] = msgspec.to_builtins(snapshot)
    return described
