"""Which snapshots are kept: the newest ones, one for each hour of the last day, one for each day of the last month, all
that have a label; of the last ten million records as many as it takes for the way to any of them to be short, as far as
there is room; and whatever those are built on.
"""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from online.durable import clear_unnamed
from online.snapshot import FORMAT, Snapshot, SnapshotForeign, newest_first, writing

NEWEST_KEPT = 8
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
HOURS_KEPT, DAYS_KEPT = 24, 30
APART, REACH = 150_000, 10_000_000  # records between two: folded in seconds; and how far back that holds
ROOM = 8_000_000_000  # bytes on the disk for it
PLANNED_KEPT_MS = 15 * 60_000  # a plan is carried out soon after it was made, or never


def kept(snapshots: Iterable[Snapshot], *, newest: int = NEWEST_KEPT) -> set[str]:
    """Ids of the snapshots to keep. Ages are counted from the newest one: no clock decides what is removed."""
    ordered = sorted(snapshots, key=lambda s: (s.created_ms, s.position), reverse=True)
    if not ordered:
        return set()
    now_ms = ordered[0].created_ms
    wanted: dict[str, Snapshot] = {}
    spans: set[tuple[str, int]] = set()
    taken = 0
    for snapshot in ordered:
        age_ms = now_ms - snapshot.created_ms
        if snapshot.label:
            wanted[snapshot.id] = snapshot
        elif snapshot.planned:
            if age_ms < PLANNED_KEPT_MS:
                wanted[snapshot.id] = snapshot
        elif taken < newest:
            taken += 1
            wanted[snapshot.id] = snapshot
        else:
            for name, span_ms, many in (("hour", HOUR_MS, HOURS_KEPT), ("day", DAY_MS, DAYS_KEPT)):
                span = (name, snapshot.created_ms // span_ms)
                if age_ms < many * span_ms and span not in spans:
                    spans.add(span)
                    wanted[snapshot.id] = snapshot
    by_id = {snapshot.id: snapshot for snapshot in ordered}
    found: set[str] = set()
    for snapshot in wanted.values():
        found |= _whole(snapshot, by_id)
    room = ROOM
    for snapshot in reversed(_spaced(ordered)):
        more = _whole(snapshot, by_id) - found
        room -= sum(by_id[one].bytes for one in more)
        if room < 0:
            break
        found |= more
    return found


def _whole(snapshot: Snapshot, by_id: dict[str, Snapshot]) -> set[str]:
    """It, and what it is built on."""
    found = {snapshot.id}
    while snapshot.base in by_id:
        snapshot = by_id[snapshot.base]
        found.add(snapshot.id)
    return found


def _spaced(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Few that leave no more than APART records between two, where there are snapshots at all, in the last REACH. Which
    those are does not change when newer ones come and the others have been removed."""
    ascending = sorted((s for s in snapshots if not s.planned), key=lambda s: (s.position, s.created_ms))
    chosen: list[Snapshot] = []
    reached = 0
    for snapshot, following in pairwise(ascending):
        if following.position - reached > APART:
            chosen.append(snapshot)
            reached = snapshot.position
    return [snapshot for snapshot in chosen if snapshot.position > ascending[-1].position - REACH - APART]


def remove_old(folder: Path, *, newest: int = NEWEST_KEPT) -> list[Snapshot]:
    """Remove what need not be kept; what was removed. Broken manifests are left for somebody to look at; those of an
    earlier format, which are never read again, go once there is one of this, unless somebody has named one of them."""
    with writing(folder):
        there = list(newest_first(folder))
        whole = [found for found in there if isinstance(found, Snapshot)]
        earlier = [found.manifest for found in there if isinstance(found, SnapshotForeign) and found.manifest]
        earlier = [manifest for manifest in earlier if manifest["format"] < FORMAT]
        if whole and not any(manifest.get("label") for manifest in earlier):
            for manifest in earlier:
                (folder / f"{manifest['id']}.json").unlink(missing_ok=True)
        keep = kept(whole, newest=newest)
        return remove(folder, [snapshot for snapshot in whole if snapshot.id not in keep])


def remove(folder: Path, gone: list[Snapshot]) -> list[Snapshot]:
    """Remove these snapshots, every blob that no manifest names, and what a writer that died had not named yet.

    The caller holds the folder (`writing`).
    """
    for snapshot in gone:
        (folder / f"{snapshot.id}.json").unlink(missing_ok=True)
    left: list[Snapshot] = []
    used: set[str] = set()
    known = True
    for found in newest_first(folder):
        if isinstance(found, Snapshot):
            left.append(found)
            used.add(found.file)
        elif isinstance(found, SnapshotForeign) and found.manifest:
            used.add(str(found.manifest.get("file")))
        else:
            known = False  # a manifest that cannot be read may name any of them
    if known:
        for blob in (*folder.glob("*.safetensors"), *folder.glob("blobs/*.safetensors")):
            if blob.relative_to(folder).as_posix() not in used:
                blob.unlink(missing_ok=True)
        digests = {snapshot.state_digest for snapshot in left}
        for tree in (folder / "trees").glob("*"):
            if tree.name not in digests:
                tree.unlink(missing_ok=True)
    for place in (folder, folder / "blobs", folder / "trees"):
        clear_unnamed(place)
    return gone
