"""A snapshot is a place in the log: a state at a position, content-addressed, every byte verified on load (law 3).

    snapshots/<id>.json             the manifest, canonical JSON: position, lineage, digests, settings, environment
    snapshots/<blake3>.safetensors            the blob
    snapshots/trees/<state digest>            the digest's blocks; may be gone, and is checked by the digest itself
    snapshots/erasures                        positions of erasures that are finished

A blob holds the state's arrays whole, or what changed since the snapshot that the manifest names as its base. Each
array in it is a chunk with a BLAKE3 of its own, and so is the header before them; the one over those names the blob.
`root`, over all that the manifest says, stands for every byte. Blob and manifest are on the disk before either has its
name, and the manifest gets its own last; one that names a blob which is not there, or not whole, is refused like any
other spoilt one. safetensors alone would load a flipped bit without a word; the digests of chunks and state do not.
"""

import contextlib
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
from safetensors import SafetensorError
from safetensors.numpy import load

from online.artifact import Artifact
from online.blob import header_of, pieces_of
from online.delta import difference, difference_by_tree, patched
from online.durable import alone_in, write_durably, write_together
from online.hash_tree import Tree, TreeUnreadable, read_tree, root, tree_of, written
from online.lineage import Lineage
from online.records import SCHEMA, Act
from online.settings import read_settings, settings_text
from online.state import State
from online.tables import Arrays
from online.touched import Touched

FORMAT = 4
DEPTH_MAX = 8  # differences on top of each other before everything is written again
LOOKED_AT = 4  # manifests, for one to build on, before all are
DIFFERENCE_MAX = 0.5  # of the whole: a larger one is not worth its reading


class SnapshotCorrupt(Exception):
    """Bytes of a snapshot are not the ones that were written. Says which file, and both digests."""

    def __init__(self, path: Path, *, expected: str, actual: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {actual}; restore the file or remove this snapshot")
        self.path, self.expected, self.actual = path, expected, actual


class SnapshotMissing(Exception):
    """No snapshot has this id; says which ones there are."""


class SnapshotForeign(Exception):
    """A snapshot of another artifact, format or schema than the one asked for.

    manifest: that of another format, where its root is right; else empty.
    """

    def __init__(self, message: str, manifest: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.manifest = manifest or {}


class SnapshotUnwanted(Exception):
    """A state that may hold somebody who has been erased since it was begun: it is not written down."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The manifest."""

    format: int
    id: str
    root: str  # BLAKE3 of this manifest without `root`
    position: int
    lineage: Lineage  # which records it is the fold of
    acts: list[tuple[int, Act]]  # of the log up to its position: what later lineages are made of
    planned: bool  # made for an act that the log does not hold yet: no place to start from until it does
    entry_digest: str  # BLAKE3 of the log's entry at `position`, 32 hex digits
    artifact_id: str
    settings: str
    schema: int
    state_digest: str
    file: str
    bytes: int
    blake3: str  # of the digests of its chunks, in order of names
    chunks: dict[str, str]  # BLAKE3 of each array in the blob by name, and of its header by ""
    base: str  # the snapshot that the blob is the difference to; "" where it holds all
    depth: int  # how many differences lie on top of each other
    parent: str  # the snapshot before it in its lineage
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
    lineage: Lineage | None = None,
    acts: list[tuple[int, Act]] | None = None,
    planned: bool = False,
    label: str = "",
    touched: Touched | None = None,
) -> Snapshot:
    """Write the state as it is. `entry` is the log's record at its position; without a lineage, all of the log.

    `touched`: the rows that were written since a place; then only they are looked at, where a snapshot from behind that
    place is there to build on. Raises SnapshotUnwanted where an erasure was finished here that `acts` do not know.
    """
    lineage = lineage or Lineage(state.artifact_id).grown(1, state.position)
    arrays = {name: np.ascontiguousarray(array) for name, array in state.canonical()}
    with writing(folder):
        if unknown := _erasures(folder) - {position for position, _ in acts or []}:
            raise SnapshotUnwanted(f"the erasure at position {min(unknown)} was finished since this state was begun")
        parent = _parent(folder, lineage, touched)
        base, tree, parts = _difference(folder, parent, arrays, touched)
        digest = root(state.identity, tree)
        content = pieces_of(parts)
        chunks = _chunks(b"".join(content[:2]), parts)
        checksum = _checksum(chunks)
        identity = f"{state.artifact_id}|{state.pricing_artifact_id}|{state.position}|{digest}|{planned}"
        snapshot = Snapshot(
            format=FORMAT,
            id=blake3(identity.encode()).hexdigest()[:16],
            root="",
            position=state.position,
            lineage=lineage,
            acts=acts or [],
            planned=planned,
            entry_digest=entry_digest(entry),
            artifact_id=state.artifact_id,
            settings=settings_text(state.settings),
            schema=SCHEMA,
            state_digest=digest,
            file=f"{checksum}.safetensors",
            bytes=sum(map(len, content)),
            blake3=checksum,
            chunks=chunks,
            base=base.id if base else "",
            depth=base.depth + 1 if base else 0,
            parent=parent.id if parent else "",
            reason=reason,
            label=label,
            created_ms=time.time_ns() // 1_000_000,
            environment=environment(),
            counters=counters,
            pricing_artifact_id=state.pricing_artifact_id,
        )
        path = folder / f"{snapshot.id}.json"
        if path.exists():
            with contextlib.suppress(SnapshotCorrupt, SnapshotForeign):
                known = read_manifest(path)
                if (folder / known.file).exists():  # the same state at the same place: only its name may be new
                    return known if not label else _write_manifest(folder, msgspec.structs.replace(known, label=label))
        _write_tree(folder, digest, tree)
        snapshot = _rooted(snapshot)
        write_together([(folder / snapshot.file, content), (path, _encoded(snapshot))])
        return snapshot


def relabel(folder: Path, snapshot_id: str, label: str) -> Snapshot:
    """Give a snapshot a label, which keeps it, or take it away with an empty one. Raises SnapshotMissing."""
    with writing(folder):
        return _write_manifest(folder, msgspec.structs.replace(find_snapshot(folder, snapshot_id), label=label))


def list_snapshots(folder: Path) -> list[Snapshot]:
    """All manifests, by position, the newest last. Raises SnapshotCorrupt where one is no manifest."""
    return sorted((read_manifest(path) for path in folder.glob("*.json")), key=lambda s: (s.position, s.created_ms))


def find_snapshot(folder: Path, snapshot_id: str) -> Snapshot:
    """The manifest of this id. Raises SnapshotMissing, SnapshotCorrupt."""
    path = folder / f"{snapshot_id}.json"
    if not snapshot_id.isalnum() or not path.exists():
        newest = [s.id for s in newest_first(folder) if isinstance(s, Snapshot)][:5]
        raise SnapshotMissing(f"no snapshot {snapshot_id!r}; the newest are: {', '.join(newest) or 'none yet'}")
    return read_manifest(path)


def read_manifest(path: Path) -> Snapshot:
    """A manifest, whole. Raises SnapshotCorrupt; SnapshotForeign where it is of another format."""
    content = path.read_bytes()
    try:
        found = msgspec.json.decode(content)
        if isinstance(found, dict) and found.get("format") not in (FORMAT, None):
            raise SnapshotForeign(
                f"{path}: a snapshot of format {found['format']}, and this version reads format {FORMAT}: the log is "
                f"folded instead, and `perennial rollback --to-position {found.get('position')}` goes back to it",
                found if found.get("root") == _root(found) else None,
            )
        snapshot = msgspec.convert(found, Snapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotCorrupt(path, expected="a manifest", actual=f"{len(content)} bytes: {error}") from error
    if (actual := _root(snapshot)) != snapshot.root:
        raise SnapshotCorrupt(path, expected=f"root {snapshot.root}", actual=f"root {actual}")
    if content != (
        rewritten := _encoded(snapshot)
    ):  # a name that is ignored, what stands in its place being the default
        first = next((at for at, (a, b) in enumerate(zip(content, rewritten, strict=False)) if a != b), len(rewritten))
        raise SnapshotCorrupt(path, expected="a manifest as it is written", actual=f"another byte {first}")
    if path.name != f"{snapshot.id}.json":
        raise SnapshotCorrupt(path, expected=f"snapshot {path.stem}", actual=f"snapshot {snapshot.id}")
    return snapshot


def load_snapshot(
    folder: Path, snapshot: Snapshot, artifact: Artifact | None, *, pricing: Artifact | None = None
) -> State:
    """The state of a snapshot. Raises SnapshotCorrupt and SnapshotForeign; never a part of a state."""
    if snapshot.schema != SCHEMA:
        raise SnapshotForeign(f"snapshot {snapshot.id} has schema {snapshot.schema}; this version reads {SCHEMA}")
    for found, given in ((snapshot.artifact_id, artifact), (snapshot.pricing_artifact_id, pricing)):
        if found != (given.id if given else ""):
            raise SnapshotForeign(
                f"snapshot {snapshot.id} is of artifact {found or 'none'}, not {given.id if given else 'none'}"
            )
    path = folder / snapshot.file
    state = State(read_settings(snapshot.settings), artifact, pricing=pricing)
    try:
        state.load(load_arrays(folder, snapshot))
    except (KeyError, ValueError, IndexError) as error:
        raise SnapshotCorrupt(path, expected="the state's arrays", actual=f"{type(error).__name__}: {error}") from error
    digest = state.digest()
    if digest != snapshot.state_digest:
        raise SnapshotCorrupt(path, expected=f"state {snapshot.state_digest}", actual=f"state {digest}")
    if state.position != snapshot.position:
        raise SnapshotCorrupt(path, expected=f"position {snapshot.position}", actual=f"position {state.position}")
    return state


def load_arrays(folder: Path, snapshot: Snapshot) -> Arrays:
    """The arrays of a snapshot, out of its blob and those that it builds on, every byte verified.

    Raises SnapshotCorrupt, SnapshotForeign.
    """
    path = folder / snapshot.file
    content = path.read_bytes() if path.exists() else b""
    expected, actual = f"{snapshot.blake3}, {snapshot.bytes} bytes", f"{len(content)} bytes"
    header = _chunks(header_of(content), {})
    if len(content) != snapshot.bytes or header[""] != snapshot.chunks.get(""):
        found = f"{actual}, {_checksum(header)} by its header" if content else "no file"
        raise SnapshotCorrupt(path, expected=expected, actual=found)
    try:
        parts: Arrays = load(content)
    except SafetensorError as error:
        raise SnapshotCorrupt(path, expected=expected, actual=f"{actual}: {error}") from error
    chunks = _chunks(header_of(content), parts)
    if chunks != snapshot.chunks or _checksum(chunks) != snapshot.blake3:
        odd = {name for name, _ in chunks.items() ^ snapshot.chunks.items()}
        found = f"{_checksum(chunks)}, {actual}, other chunks: {', '.join(sorted(odd))}"
        raise SnapshotCorrupt(path, expected=expected, actual=found)
    if not snapshot.base:
        return parts
    try:
        base = find_snapshot(folder, snapshot.base)
    except SnapshotMissing as error:
        raise SnapshotCorrupt(
            folder / f"{snapshot.base}.json", expected=f"the base of {snapshot.id}", actual="no file"
        ) from error
    if base.depth >= snapshot.depth:
        raise SnapshotCorrupt(path, expected=f"a base below depth {snapshot.depth}", actual=f"depth {base.depth}")
    return patched(load_arrays(folder, base), parts)


def newest_first(folder: Path) -> Iterator["Snapshot | SnapshotCorrupt | SnapshotForeign"]:
    """Manifests to try at a start, the newest first; a broken one comes as its error, to be told and passed over."""
    found: list[Snapshot] = []
    for path in folder.glob("*.json"):
        try:
            found.append(read_manifest(path))
        except (SnapshotCorrupt, SnapshotForeign) as error:
            yield error
        except FileNotFoundError:  # removed since the folder was listed
            continue
    yield from sorted(found, key=lambda s: (s.position, s.created_ms), reverse=True)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """One process at a time writes or removes: what one has written and not named yet, another must not clear away."""
    with alone_in(folder):
        yield


def note_erasure(folder: Path, position: int) -> None:
    """From here on no state is written down that does not know of the erasure. The caller holds the folder."""
    noted = sorted(_erasures(folder) | {position})
    write_durably(folder / "erasures", msgspec.json.encode(noted))


def _erasures(folder: Path) -> set[int]:
    path = folder / "erasures"
    return set(msgspec.json.decode(path.read_bytes(), type=list[int])) if path.exists() else set()


def describe(snapshot: Snapshot) -> dict[str, Any]:
    """The manifest as plain values."""
    described: dict[str, Any] = msgspec.to_builtins(snapshot)
    return described


def _write_manifest(folder: Path, snapshot: Snapshot) -> Snapshot:
    snapshot = _rooted(snapshot)
    write_durably(folder / f"{snapshot.id}.json", _encoded(snapshot))
    return snapshot


def _rooted(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, root=_root(snapshot))


def _encoded(snapshot: Snapshot) -> bytes:
    return msgspec.json.encode(snapshot, order="sorted")


def _root(snapshot: Snapshot | dict[str, Any]) -> str:
    rootless = snapshot | {"root": ""} if isinstance(snapshot, dict) else msgspec.structs.replace(snapshot, root="")
    return blake3(msgspec.json.encode(rootless, order="sorted")).hexdigest()


def _chunks(header: bytes, arrays: Arrays) -> dict[str, str]:
    """The digests of a blob's header and arrays: together they stand for every byte, and each is read once for them."""
    found = {"": blake3(header).hexdigest()}
    for name, array in sorted(arrays.items()):
        hasher = blake3(f"{array.dtype.str}|{array.shape}|".encode())
        hasher.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
        found[name] = hasher.hexdigest()
    return found


def _checksum(chunks: dict[str, str]) -> str:
    return blake3("".join(digest for _, digest in sorted(chunks.items())).encode()).hexdigest()


def _parent(folder: Path, lineage: Lineage, touched: Touched | None) -> Snapshot | None:
    """The newest snapshot that this lineage continues. Where one behind a place will do, because all that was written
    since is known, it is looked for among those that were written last: to read a hundred manifests takes longer than
    all the rest."""
    if touched is not None and touched.known:
        last = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in last[:LOOKED_AT]:
            with contextlib.suppress(SnapshotCorrupt, SnapshotForeign):
                found = read_manifest(path)
                if found.lineage.begins(lineage) and found.lineage.last >= touched.since:
                    return found
    for snapshot in newest_first(folder):
        if isinstance(snapshot, Snapshot) and snapshot.lineage.begins(lineage):
            return snapshot
    return None


def _difference(
    folder: Path, parent: Snapshot | None, arrays: Arrays, touched: Touched | None
) -> tuple[Snapshot | None, Tree, Arrays]:
    """What to write, and the tree of all of it: the difference to the parent, or everything where there is none, or
    none worth it."""
    if parent is None or parent.depth >= DEPTH_MAX:
        return None, tree_of(arrays), arrays
    before = _noted_tree(folder, parent, touched)
    if before is not None and touched is not None:
        touched.note_rings(arrays)
        tree, parts = difference_by_tree(before, arrays, touched)
    else:
        tree = tree_of(arrays)
        try:
            parts = difference(load_arrays(folder, parent), arrays)
        except (SnapshotCorrupt, SnapshotForeign):
            return None, tree, arrays  # nothing is built on what cannot be read
    small = sum(part.nbytes for part in parts.values()) < DIFFERENCE_MAX * sum(a.nbytes for a in arrays.values())
    return (parent, tree, parts) if small else (None, tree, arrays)


def _noted_tree(folder: Path, parent: Snapshot, touched: Touched | None) -> Tree | None:
    """The parent's tree, where what was written since it is known row by row, and its files are all there."""
    if touched is None or not touched.known or parent.lineage.last < touched.since:
        return None
    below: Snapshot | None = parent
    try:
        while below is not None:
            if (folder / below.file).stat().st_size != below.bytes:
                return None
            below = find_snapshot(folder, below.base) if below.base else None
        content = (folder / "trees" / parent.state_digest).read_bytes()
        return read_tree(content, f"{parent.artifact_id}|{parent.pricing_artifact_id}", parent.state_digest)
    except (OSError, TreeUnreadable, SnapshotMissing, SnapshotCorrupt, SnapshotForeign):
        return None


def _write_tree(folder: Path, digest: str, tree: Tree) -> None:
    """Not synced: what a power cut leaves of it is not the tree of this digest, and then nobody builds on it."""
    (folder / "trees").mkdir(exist_ok=True)
    temporary = folder / "trees" / f".{digest}"
    temporary.write_bytes(written(tree))
    temporary.rename(folder / "trees" / digest)
