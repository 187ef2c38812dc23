"""Which snapshots are kept: the newest ones, one for each hour of the last day, one for each day of the last month,
all that have a label, and whatever those are built on.
"""

from collections.abc import Iterable
from pathlib import Path

from online.durable import clear_unnamed
from online.snapshot import Snapshot, newest_first, writing

NEWEST_KEPT = 8
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
HOURS_KEPT, DAYS_KEPT = 24, 30
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
    found = set(wanted)
    for snapshot in wanted.values():
        while snapshot.base in by_id and snapshot.base not in found:
            found.add(snapshot.base)
            snapshot = by_id[snapshot.base]
    return found


def remove_old(folder: Path, *, newest: int = NEWEST_KEPT) -> list[Snapshot]:
    """Remove what need not be kept; what was removed. Broken manifests are left for somebody to look at."""
    with writing(folder):
        whole = [found for found in newest_first(folder) if isinstance(found, Snapshot)]
        keep = kept(whole, newest=newest)
        return remove(folder, [snapshot for snapshot in whole if snapshot.id not in keep])


def remove(folder: Path, gone: list[Snapshot]) -> list[Snapshot]:
    """Remove these snapshots, every blob that no manifest names, and what a writer that died had not named yet.

    The caller holds the folder (`writing`).
    """
    for snapshot in gone:
        (folder / f"{snapshot.id}.json").unlink(missing_ok=True)
    named = {path.name for path in folder.glob("*.json")}
    used = {s.file for s in newest_first(folder) if isinstance(s, Snapshot) and f"{s.id}.json" in named}
    broken = len(named) != len([s for s in newest_first(folder) if isinstance(s, Snapshot)])
    if not broken:  # a manifest that cannot be read may name any of them
        for blob in (folder / "blobs").glob("*.safetensors"):
            if f"blobs/{blob.name}" not in used:
                blob.unlink(missing_ok=True)
        digests = {s.state_digest for s in newest_first(folder) if isinstance(s, Snapshot)}
        for tree in (folder / "trees").glob("*"):
            if tree.name not in digests:
                tree.unlink(missing_ok=True)
    for place in (folder, folder / "blobs", folder / "trees"):
        clear_unnamed(place)
    return gone
