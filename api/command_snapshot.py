"""Commands on snapshots: list, create, show, verify, diff, label."""

import contextlib
from collections.abc import Iterator
from typing import Annotated

import typer

from api.console import CHECK_FAILED, MISSING, Home, Json, default_home, give, refuse, say


def snapshot_list(home: Home = default_home(), as_json: Json = False) -> None:
    """List the snapshots, the newest last.

    Example: perennial snapshot list
    """
    from online.snapshot import Snapshot, describe, newest_first

    found = list(newest_first(home / "snapshots"))[::-1]
    whole = [one for one in found if isinstance(one, Snapshot)]
    lines = [f"{'id':16}  {'position':>12}  {'size':>9}  {'builds on':16}  {'state digest':32}  reason"]
    lines += [
        f"{s.id:16}  {s.position:>12,}  {s.bytes / 1e6:>6.1f} MB  {s.base or '-':16}  {s.state_digest:32}  "
        f"{s.label or s.reason}"
        for s in whole
    ]
    lines += [f"BROKEN  {one}" for one in found if not isinstance(one, Snapshot)]
    give([describe(s) for s in whole], as_json=as_json, text="\n".join(lines) if found else "no snapshots yet")


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
    from online.fold import LogForeign
    from online.log import LogError
    from online.snapshot import describe

    try:
        written = create_snapshot(home, redis_url, label=label, say=say)
    except (HomeEmpty, LogError, LogForeign, ArtifactMissing, ArtifactCorrupt) as error:
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
    from online.artifact import ArtifactCorrupt, ArtifactMissing
    from online.history import artifacts_of
    from online.snapshot import Snapshot, SnapshotCorrupt, SnapshotForeign, find_snapshot, load_snapshot, newest_first

    folder, artifacts = home / "snapshots", artifacts_of(home)
    with _snapshot_errors():
        chosen = [find_snapshot(folder, snapshot)] if snapshot else list(newest_first(folder))[::-1]
    results, wrong = [], 0
    for one in chosen:
        problem, one_id, position = "", "", 0
        if isinstance(one, Snapshot):
            one_id, position = one.id, one.position
            try:
                load_snapshot(folder, one, artifacts(one.artifact_id), pricing=artifacts(one.pricing_artifact_id))
            except (SnapshotCorrupt, SnapshotForeign, ArtifactMissing, ArtifactCorrupt) as error:
                problem = str(error)
        else:
            problem = str(one)
        wrong += bool(problem)
        results.append({"id": one_id, "position": position, "ok": not problem, "problem": problem})
    lines = [f"{r['id']}  {'whole' if r['ok'] else r['problem']}" for r in results]
    give(results, as_json=as_json, text="\n".join(lines) if lines else "no snapshots yet")
    if wrong:
        raise typer.Exit(CHECK_FAILED)


def snapshot_diff(
    before: Annotated[str, typer.Argument(help="A snapshot's id.")],
    after: Annotated[str, typer.Argument(help="Another's.")],
    home: Home = default_home(),
    as_json: Json = False,
) -> None:
    """Say what changed from one snapshot to another: which users, items and weights, and by how much.

    Example: perennial snapshot diff 3f0c2a9e11b6d3aa a11b6d3aa3f0c2a9
    """
    import msgspec

    from online.comparison import compared
    from online.history import artifacts_of
    from online.snapshot import find_snapshot, load_snapshot

    folder, artifacts = home / "snapshots", artifacts_of(home)
    with _snapshot_errors():
        states = [
            load_snapshot(folder, one, artifacts(one.artifact_id), pricing=artifacts(one.pricing_artifact_id))
            for one in (find_snapshot(folder, before), find_snapshot(folder, after))
        ]
    found = compared(states[0], states[1])
    lines = [f"{before} at {states[0].position:,} → {after} at {states[1].position:,}"]
    for name, table in (("users", found.users), ("items", found.items)):
        lines.append(f"{name:6} {table.new:,} new, {table.gone:,} gone, {table.changed:,} changed")
        lines += [f"       {one.who}  moved by {one.by:.6g}" for one in table.largest]
    lines.append(f"{'parameters':28} {'rows':>9} {'changed':>9} {'largest move':>13} {'mean move':>11}")
    lines += [
        f"{one.name:28} {one.rows:>9,} {one.changed:>9,} {one.largest:>13.6g} {one.mean:>11.6g}"
        for one in found.parameters
    ]
    lines += [f"{name:28} {count:+,}" for name, count in found.counters.items()]
    give(msgspec.to_builtins(found), as_json=as_json, text="\n".join(lines))


def snapshot_label(
    snapshot: Annotated[str, typer.Argument(help="A snapshot's id.")],
    label: Annotated[str, typer.Argument(help="A name, which keeps it for good; empty takes the name away.")],
    home: Home = default_home(),
    as_json: Json = False,
) -> None:
    """Name a snapshot, so that it is never removed.

    Example: perennial snapshot label 3f0c2a9e11b6d3aa last-good
    """
    from online.snapshot import describe, relabel

    with _snapshot_errors():
        found = relabel(home / "snapshots", snapshot, label)
    give(describe(found), as_json=as_json, text=f"snapshot {found.id} is called {found.label or 'nothing'}")


@contextlib.contextmanager
def _snapshot_errors() -> Iterator[None]:
    from online.artifact import ArtifactCorrupt, ArtifactMissing
    from online.snapshot import SnapshotCorrupt, SnapshotForeign, SnapshotMissing

    try:
        yield
    except (SnapshotMissing, ArtifactMissing) as error:
        refuse(str(error), MISSING)
    except (SnapshotCorrupt, SnapshotForeign, ArtifactCorrupt) as error:
        refuse(str(error), CHECK_FAILED)
