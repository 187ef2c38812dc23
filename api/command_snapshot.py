"""Commands on snapshots: list, create, show, verify."""

import contextlib
from collections.abc import Iterator
from typing import Annotated

import typer

from api.console import CHECK_FAILED, MISSING, Home, Json, default_home, give, refuse, say


def snapshot_list(home: Home = default_home(), as_json: Json = False) -> None:
    """List the snapshots, the newest last.

    Example: perennial snapshot list
    """
    from online.snapshot import describe, list_snapshots

    with _snapshot_errors():
        found = list_snapshots(home / "snapshots")
    lines = [f"{'id':16}  {'position':>12}  {'size':>9}  {'state digest':32}  reason"]
    lines += [
        f"{s.id:16}  {s.position:>12,}  {s.bytes / 1e6:>6.1f} MB  {s.state_digest:32}  {s.label or s.reason}"
        for s in found
    ]
    give([describe(s) for s in found], as_json=as_json, text="\n".join(lines) if found else "no snapshots yet")


def snapshot_create(
    label: Annotated[str, typer.Option(help="A name; a snapshot that has one is never removed.")] = "",
    home: Home = default_home(),
    redis_url: Annotated[str | None, typer.Option(help="The log's server, where it is not this home's own.")] = None,
    as_json: Json = False,
) -> None:
    """Take a snapshot of the state at the log's end; the service may run or not.

    Example: perennial snapshot create --label before-the-sale
    """
    from api.home import HomeEmpty
    from api.snapshots import create_snapshot
    from online.artifact import ArtifactCorrupt, ArtifactMissing
    from online.log import LogError
    from online.snapshot import describe

    try:
        written = create_snapshot(home, redis_url, label=label, say=say)
    except (HomeEmpty, LogError, ArtifactMissing, ArtifactCorrupt) as error:
        refuse(str(error), MISSING)
    give(describe(written), as_json=as_json, text=f"snapshot {written.id}, state digest {written.state_digest}")


def snapshot_show(
    snapshot: Annotated[str, typer.Argument(help="A snapshot's id.")],
    home: Home = default_home(),
    as_json: Json = False,
) -> None:
    """Show one snapshot's manifest.

    Example: perennial snapshot show 3f0c2a9e11b6d3aa
    """
    from online.snapshot import describe, find_snapshot

    with _snapshot_errors():
        found = describe(find_snapshot(home / "snapshots", snapshot))
    give(found, as_json=as_json, text="\n".join(f"{name:14} {value}" for name, value in found.items()))


def snapshot_verify(
    snapshot: Annotated[str | None, typer.Argument(help="A snapshot's id; without, all of them.")] = None,
    home: Home = default_home(),
    as_json: Json = False,
) -> None:
    """Read snapshots whole, and compare every digest. Exit code 1 where one is not what was written.

    Example: perennial snapshot verify
    """
    from online.artifact import ArtifactCorrupt, ArtifactMissing, read_artifact
    from online.snapshot import SnapshotCorrupt, SnapshotForeign, find_snapshot, list_snapshots, load_snapshot

    folder = home / "snapshots"
    with _snapshot_errors():
        chosen = [find_snapshot(folder, snapshot)] if snapshot else list_snapshots(folder)
    results, wrong = [], 0
    for one in chosen:
        try:
            artifact = read_artifact(home / "artifacts" / one.artifact_id) if one.artifact_id else None
            load_snapshot(folder, one, artifact)
            problem = ""
        except (SnapshotCorrupt, SnapshotForeign, ArtifactMissing, ArtifactCorrupt) as error:
            problem = str(error)
            wrong += 1
        results.append({"id": one.id, "position": one.position, "ok": not problem, "problem": problem})
    lines = [f"{r['id']}  {'whole' if r['ok'] else r['problem']}" for r in results]
    give(results, as_json=as_json, text="\n".join(lines) if lines else "no snapshots yet")
    if wrong:
        raise typer.Exit(CHECK_FAILED)


@contextlib.contextmanager
def _snapshot_errors() -> Iterator[None]:
    from online.snapshot import SnapshotCorrupt, SnapshotMissing

    try:
        yield
    except SnapshotMissing as error:
        refuse(str(error), MISSING)
    except SnapshotCorrupt as error:
        refuse(str(error), CHECK_FAILED)
