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
from enum import StrEnum
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
    pretrain = typer.Typer(help="Batch training: from interactions to a frozen artifact.", no_args_is_help=True)
    evaluate = typer.Typer(help="The batch model alone, on a published protocol.", no_args_is_help=True)
    replay = typer.Typer(help="Test, then learn, over past events, as production would.", no_args_is_help=True)
    app.command("demo")(demo)
    app.command("up")(up)
    app.add_typer(pretrain, name="pretrain")
    pretrain.command("recommendation")(pretrain_recommendation)
    app.add_typer(evaluate, name="evaluate")
    evaluate.command("recommendation")(evaluate_recommendation)
    app.add_typer(replay, name="replay")
    replay.command("recommendation")(replay_recommendation)
    app.add_typer(snapshot, name="snapshot")
    snapshot.command("list")(snapshot_list)
    snapshot.command("create")(snapshot_create)
    snapshot.command("show")(snapshot_show)
    snapshot.command("verify")(snapshot_verify)
    app.command("verify")(verify)
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


def demo(
    minutes: Annotated[float | None, typer.Option(help="How long viewers use the service.", min=0.2)] = None,
    once: Annotated[bool, typer.Option("--once", help="End after the table instead of staying up.")] = False,
    home: Annotated[Path | None, typer.Option(help="Where a new folder is made.")] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8080,
    seed: Annotated[int, typer.Option(help="Of the simulated world.")] = 7,
    drift: Annotated[float, typer.Option(help="How fast tastes move; 0 is a stationary world.", min=0.0)] = 1.0,
) -> None:
    """From nothing to a service that learns: pretrain, serve, be used by simulated viewers, show what it brought.

    Example: perennial demo --minutes 2 --once
    """
    from simulations.demo import run_demo

    raise typer.Exit(run_demo(minutes=minutes, once=once, home=home, port=port, seed=seed, drift=drift))


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


Interactions = Annotated[
    Path,
    typer.Option(
        help="CSV or Parquet: user_id, item_id, timestamp, optional event_type, value, session_id, context_*."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Minutes = Annotated[float | None, typer.Option(help="A time budget for training.", min=0.01)]
Seed = Annotated[int | None, typer.Option(help="Of all chance in the run.")]


def pretrain_recommendation(
    interactions: Interactions,
    out: Annotated[Path, typer.Option(help="Folder of the artifact; an interrupted run goes on from it.")],
    items: Annotated[Path | None, typer.Option(help="Catalogue with item_id: items nobody took yet.")] = None,
    device: Device = "auto",
    until: Annotated[str | None, typer.Option(help="Leave out what is not before: 2017-10-09, or Unix time.")] = None,
    artifact: Annotated[Path | None, typer.Option(help="Fine-tune from this artifact.")] = None,
    minutes: Minutes = None,
    epochs: Annotated[int | None, typer.Option(help="At most this many.", min=1)] = None,
    seed: Seed = None,
    int8: Annotated[bool, typer.Option("--int8", help="Item vectors in a quarter of the bytes.")] = False,
    warm: Annotated[bool, typer.Option(help="Also what the live learners make of the same past.")] = True,
    as_json: Json = False,
) -> None:
    """Train on past interactions and write an artifact; with --artifact, fine-tune from one.

    Example: perennial pretrain recommendation --interactions past.csv --out ./artifact
    """
    with _batch_errors():
        from batch.train import pretrain
        from online.recommendation.feeding import warm_up

        changes: dict[str, Any] = {"minutes": minutes, "epochs": epochs, "seed": seed}
        written = pretrain(
            interactions,
            out,
            device=device,
            until_ms=None if until is None else moment_ms(until),
            artifact=artifact,
            items_path=items,
            int8=int8,
            warm_up=warm_up if warm else None,
            **{name: value for name, value in changes.items() if value is not None},
        )
    result = {"artifact": written.id, "folder": str(out), "metrics": written.manifest["metrics"]}
    give(result, as_json=as_json, text=f"artifact {written.id} in {out}")


def evaluate_recommendation(
    interactions: Interactions,
    protocol: Annotated[str, typer.Option(help="leave-one-out is the only one.")] = "leave-one-out",
    device: Device = "auto",
    minutes: Minutes = None,
    epochs: Annotated[int | None, typer.Option(help="At most this many.", min=1)] = None,
    seed: Seed = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A file to keep the run in, to go on from.")] = None,
    as_json: Json = False,
) -> None:
    """Train on all but each user's last two items, then rank the last one over the full catalogue.

    Example: perennial evaluate recommendation --interactions past.csv --protocol leave-one-out
    """
    if protocol != "leave-one-out":
        refuse(f"unknown protocol {protocol!r}; there is leave-one-out", USAGE)
    with _batch_errors():
        from batch.evaluate import evaluate_leave_one_out

        changes: dict[str, Any] = {"minutes": minutes, "epochs": epochs, "seed": seed}
        found = evaluate_leave_one_out(
            interactions,
            device=device,
            checkpoint=checkpoint,
            **{name: value for name, value in changes.items() if value is not None},
        ).as_json()
    lines = [f"leave-one-out, ranked over the full catalogue ({found['steps']:,} steps, {found['seconds']} s)"]
    for part in ("validation", "test"):
        figures = "  ".join(
            f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value:,}"
            for name, value in found[part].items()
        )
        lines.append(f"{part:10} {figures}")
    give(found, as_json=as_json, text="\n".join(lines))


class Ties(StrEnum):
    """Events of one user at one timestamp: scored before any of them is learned, or one after the other."""

    TOGETHER = "together"
    FILE_ORDER = "file-order"


def replay_recommendation(
    interactions: Interactions,
    artifact: Annotated[Path | None, typer.Option(help="Without: trained on the batch part first.")] = None,
    pretrain_share: Annotated[float, typer.Option(help="Batch part by events.", min=0.0, max=1.0)] = 0.8,
    stream_from: Annotated[str | None, typer.Option(help="Batch part by time: 2017-10-09, or Unix time.")] = None,
    seed: Annotated[int, typer.Option(help="Of all chance in the run.")] = 0,
    score_every: Annotated[int, typer.Option(help="Score every K-th event; all are learned.", min=1)] = 1,
    refresh_every: Annotated[
        float, typer.Option(help="Learn in batches of so many seconds; 0 is at once.", min=0.0)
    ] = 0,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Rank what the user took already, too.")] = False,
    ties: Annotated[Ties, typer.Option(help="Events of one user at one timestamp.")] = Ties.TOGETHER,
    as_json: Json = False,
) -> None:
    """Test, then learn, over the later events: the frozen model against the one that goes on learning.

    Example: perennial replay recommendation --interactions past.csv --stream-from 2017-10-09 --score-every 50
    """
    from online.artifact import ArtifactCorrupt, ArtifactMissing
    from online.interactions import InteractionsMalformed
    from online.recommendation.arrays import ArtifactUnsuitable
    from simulations.replay import NothingToReplay
    from simulations.replay import replay_recommendation as replayed

    try:
        found = replayed(
            interactions,
            artifact=artifact,
            pretrain_share=pretrain_share,
            stream_from_ms=None if stream_from is None else moment_ms(stream_from),
            seed=seed,
            score_every=score_every,
            refresh_every_s=refresh_every,
            include_seen=include_seen,
            ties=ties.value,
        )
    except (NothingToReplay, InteractionsMalformed, ArtifactUnsuitable) as error:
        refuse(str(error), USAGE)
    except (ArtifactCorrupt, ArtifactMissing, FileNotFoundError, ModuleNotFoundError) as error:
        refuse(str(error), MISSING)
    give(found, as_json=as_json, text=_replay_table(found))


def _replay_table(found: dict[str, Any]) -> str:
    slices = ("all", "returning_users", "new_users", "known_items", "new_items")
    lines = [f"{'':14}{'slice':18}{'n':>10}{'HR@10':>10}{'NDCG@10':>10}{'MRR':>10}"]
    for variant, figures in found["variants"].items():
        for part in slices:
            if part in figures:
                row = figures[part]
                shown = "".join(
                    f"{row[name]:>10.4f}" if row[name] is not None else f"{'':>10}"
                    for name in ("hr@10", "ndcg@10", "mrr")
                )
                lines.append(f"{variant if part == 'all' else '':14}{part:18}{row['n']:>10,}{shown}")
        lines.append(f"{'':14}{'coverage':18}{figures['coverage']:>20.4f}   gini {figures['gini']:.4f}")
    rate = found["events_per_second"]
    lines.append(
        f"{found['events']:,} events after {found['pretrain_events']:,}; "
        f"{f'{rate:,.0f} events/s; ' if rate else ''}state {found['state_digest']}"
    )
    return "\n".join(lines)


@contextlib.contextmanager
def _batch_errors() -> Iterator[None]:
    """What a run can end with, said in one line and not as a traceback."""
    try:
        import torch  # noqa: F401
    except ImportError:
        refuse("this command needs torch: pip install 'perennial[batch]'", MISSING)
    from batch.checkpoint import CheckpointForeign
    from batch.train import TooFewInteractions
    from online.artifact import ArtifactCorrupt, ArtifactMissing
    from online.interactions import InteractionsMalformed

    try:
        yield
    except (InteractionsMalformed, TooFewInteractions, CheckpointForeign) as error:
        refuse(str(error), USAGE)
    except (ArtifactCorrupt, ArtifactMissing, FileNotFoundError) as error:
        refuse(str(error), MISSING)
    except ValueError as error:
        refuse(str(error), USAGE)


def moment_ms(text: str) -> int:
    """Unix milliseconds of a time on the command line: a date, RFC 3339 (UTC without an offset), or Unix time."""
    from datetime import UTC, datetime

    if text.isdigit():
        number = int(text)
        return number if number >= 100_000_000_000 else number * 1_000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        refuse(f"cannot read the time {text!r}: write 2017-10-09, 2017-10-09T12:00:00Z, or Unix time", USAGE)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000)


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


def verify(
    home: Home = default_home(),
    redis_url: Annotated[str | None, typer.Option(help="The log's server, where it is not this home's own.")] = None,
    as_json: Json = False,
) -> None:
    """Fold the whole log again from the artifact, and compare every digest on the way. Exit code 0 only if identical.

    Example: perennial verify
    """
    from api.home import HomeEmpty
    from api.verification import verify_home
    from online.artifact import ArtifactCorrupt, ArtifactMissing
    from online.fold import LogForeign
    from online.log import LogError
    from online.snapshot import SnapshotCorrupt

    try:
        found = verify_home(home, redis_url, say=say)
    except (HomeEmpty, LogError, LogForeign, ArtifactMissing, ArtifactCorrupt, SnapshotCorrupt) as error:
        refuse(str(error), MISSING)
    lines = [f"{'what':34}  {'position':>12}  {'expected':32}  refolded"]
    for one in found.compared:
        mark = "" if one.identical else "   DIFFERENT"
        lines.append(f"{one.what:34}  {one.position:>12,}  {one.expected:32}  {one.refolded}{mark}")
    lines.append(
        f"{found.position:,} records folded again in {found.seconds:.1f} s: digest {found.digest}, "
        f"{'all identical' if found.identical else 'NOT IDENTICAL'}"
    )
    give(found.as_json(), as_json=as_json, text="\n".join(lines))
    if not found.identical:
        raise typer.Exit(CHECK_FAILED)


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
