"""The command line: `perennial`. Results go to stdout, talk to stderr; `--json` makes the results machines'
own.

Exit codes: 0 done; 1 what was checked is not so; 2 wrong usage; 3 something that is needed is missing.
Whatever is heavy is imported inside the command that needs it, so that `--help` is quick.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from api.supervisor import Address

CHECK_FAILED, USAGE, MISSING = 1, 2, 3

Home = Annotated[
    Path,
    typer.Option(help="Folder of the log, snapshots and artifacts.", envvar="PERENNIAL_HOME", show_default=True),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def default_home() -> Path:
    """~/.local/share/perennial, or where the XDG rules put it."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "perennial"


def cli() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="perennial",
        help="Recommendations that keep learning while they serve, each derived again on demand from a log.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    snapshot = typer.Typer(help="Snapshots: a state at a place in the log.", no_args_is_help=True)
    app.command("up")(up)
    app.add_typer(snapshot, name="snapshot")
    snapshot.command("list")(snapshot_list)
    snapshot.command("show")(snapshot_show)
    snapshot.command("verify")(snapshot_verify)
    app.command("doctor")(doctor)
    return app


def main() -> None:
    """What the installed command runs."""
    try:
        cli()(prog_name="perennial")
    except BrokenPipeError:
        # The reader of a pipe has gone (`| head`): nothing is wrong, and nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def say(text: str) -> None:
    """Talk: to stderr."""
    print(text, file=sys.stderr, flush=True)


def give(result: Any, *, as_json: bool, text: str) -> None:
    """The result: to stdout, as JSON or as text."""
    print(json.dumps(result, ensure_ascii=False) if as_json else text, flush=True)


def refuse(message: str, code: int) -> NoReturn:
    """End with a message that says what to do."""
    say(f"perennial: {message}")
    raise typer.Exit(code)


def up(
    home: Home = default_home(),
    host: Annotated[
        str, typer.Option(help="Only loopback while no keys are configured.", envvar="PERENNIAL_HOST")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535, envvar="PERENNIAL_PORT")] = 8080,
    workers: Annotated[
        int, typer.Option(help="Processes that answer requests.", min=1, max=256, envvar="PERENNIAL_WORKERS")
    ] = 1,
    redis_url: Annotated[
        str | None,
        typer.Option(help="An existing Redis or Valkey; embedded without.", envvar="PERENNIAL_REDIS_URL"),
    ] = None,
    artifact: Annotated[
        list[Path] | None, typer.Option(help="Folder that `pretrain` wrote; repeatable, one per domain.")
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="JSON; counts where the log is still empty.")] = None,
    snapshot_every: Annotated[float, typer.Option(help="Seconds between snapshots.", min=1.0)] = 300.0,
    as_json: Json = False,
) -> None:
    """Run the service: the log's server, the learner and the workers, until Ctrl-C.

    Example: perennial up --port 8080 --workers 2 --artifact ./artifact
    """
    from api.supervisor import Interrupted, Options, StartRefused, Supervisor
    from online.artifact import ArtifactCorrupt, ArtifactMissing
    from online.log import LogError

    if artifact is not None and len(artifact) > 1:
        refuse("one artifact at a time for now: recommendation", USAGE)
    options = Options(
        home=home,
        host=host,
        port=port,
        workers=workers,
        redis_url=redis_url,
        artifact=artifact[0] if artifact else None,
        settings=settings,
        snapshot_every_s=snapshot_every,
    )
    try:
        Supervisor(options, say=say).run(lambda address: _tell_address(address, as_json=as_json))
    except (StartRefused, LogError, ArtifactMissing, ArtifactCorrupt) as error:
        refuse(str(error), MISSING)
    except Interrupted as interrupted:
        refuse(str(interrupted), 130)


def _tell_address(address: "Address", *, as_json: bool) -> None:
    import msgspec

    give(
        msgspec.to_builtins(address),
        as_json=as_json,
        text=f"API        {address.url}\ndocs       {address.docs}\ndashboard  {address.dashboard}",
    )
    say(f"home {address.home}, artifact {address.artifact or 'none'}; Ctrl-C stops it")


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


def doctor(
    home: Home = default_home(),
    redis_url: Annotated[str | None, typer.Option(help="Examine this server instead of the embedded one.")] = None,
    as_json: Json = False,
) -> None:
    """Examine every precondition; each red line comes with its cure. Exit code 1 where one is red.

    Example: perennial doctor
    """
    from dataclasses import asdict

    from api.doctor import examine

    checks = examine(home, redis_url)
    lines = []
    for check in checks:
        lines.append(f"{'ok ' if check.ok else 'RED'}  {check.name:24} {check.found}")
        if not check.ok:
            lines.append(f"     {'':24} → {check.cure}")
    give([asdict(check) for check in checks], as_json=as_json, text="\n".join(lines))
    if not all(check.ok for check in checks):
        raise typer.Exit(CHECK_FAILED)


if __name__ == "__main__":
    main()
