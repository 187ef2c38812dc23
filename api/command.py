"""The command line: `perennial`. Results go to stdout, talk to stderr; `--json` makes the results machines' own.

Exit codes: 0 done; 1 what was checked is not so; 2 wrong usage; 3 something that is needed is missing.
Whatever is heavy is imported inside the command that needs it, so that `--help` is quick.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.command_acts import erase, freeze, promote, resume, rollback
from api.command_batch import (
    evaluate_recommendation,
    pretrain_pricing,
    pretrain_recommendation,
    replay_pricing,
    replay_recommendation,
)
from api.command_config import config_show
from api.command_keys import keys_create, keys_list, keys_revoke
from api.command_reproduce import reproduce
from api.command_snapshot import (
    snapshot_create,
    snapshot_diff,
    snapshot_label,
    snapshot_list,
    snapshot_show,
    snapshot_verify,
)
from api.console import CHECK_FAILED, EXIT_CODES, MISSING, USAGE, Home, Json, default_home, give, refuse, say

if TYPE_CHECKING:
    from api.supervisor import Address


def cli() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="perennial",
        help="Recommendations that keep learning while they serve, each derived again on demand from a log.",
        epilog=EXIT_CODES,
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
    pretrain.command("pricing")(pretrain_pricing)
    app.add_typer(evaluate, name="evaluate")
    evaluate.command("recommendation")(evaluate_recommendation)
    app.add_typer(replay, name="replay")
    replay.command("recommendation")(replay_recommendation)
    replay.command("pricing")(replay_pricing)
    app.add_typer(snapshot, name="snapshot")
    snapshot.command("list")(snapshot_list)
    snapshot.command("create")(snapshot_create)
    snapshot.command("show")(snapshot_show)
    snapshot.command("verify")(snapshot_verify)
    snapshot.command("diff")(snapshot_diff)
    snapshot.command("label")(snapshot_label)
    app.command("rollback")(rollback)
    app.command("freeze")(freeze)
    app.command("resume")(resume)
    app.command("promote")(promote)
    app.command("erase")(erase)
    app.command("reproduce")(reproduce)
    config = typer.Typer(help="What the service is configured with.", no_args_is_help=True)
    app.add_typer(config, name="config")
    config.command("show")(config_show)
    keys = typer.Typer(help="API keys: who may ask, report, operate.", no_args_is_help=True)
    app.add_typer(keys, name="keys")
    keys.command("create")(keys_create)
    keys.command("list")(keys_list)
    keys.command("revoke")(keys_revoke)
    app.command("verify")(verify)
    app.command("doctor")(doctor)
    return app


def main() -> None:
    """What the installed command runs."""
    try:
        if not _only_help(sys.argv[1:]):
            cli()(prog_name="perennial")
    except BrokenPipeError:
        # The reader of a pipe has gone (`| head`): nothing is wrong, and nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _only_help(words: list[str]) -> bool:
    """Answer `perennial COMMAND … --help` by itself: parsing a group's options loads pydantic, 0.2 s for nothing."""
    if words[-1:] != ["--help"]:
        return False
    command = typer.main.get_command(cli())
    context = typer.Context(command, info_name="perennial")
    for word in words[:-1]:
        inner = getattr(command, "commands", {}).get(word)
        if inner is None:
            return False
        command, context = inner, typer.Context(inner, info_name=word, parent=context)
    print(command.get_help(context))
    return True


def demo(
    minutes: Annotated[float | None, typer.Option(help="How long viewers use the service.", min=0.2)] = None,
    once: Annotated[bool, typer.Option("--once", help="End after the table instead of staying up.")] = False,
    home: Annotated[Path | None, typer.Option(help="Where a new folder is made.")] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8080,
    seed: Annotated[int, typer.Option(help="Of the simulated world.")] = 7,
    drift: Annotated[float, typer.Option(help="How fast tastes move; 0 is a stationary world.", min=0.0)] = 1.0,
    as_json: Json = False,
) -> None:
    """From nothing to a service that learns: pretrain, serve, be used by viewers and travellers, show what it brought.

    Example: perennial demo --minutes 2 --once
    """
    from simulations.demo import run_demo

    raise typer.Exit(
        run_demo(minutes=minutes, once=once, home=home, port=port, seed=seed, drift=drift, as_json=as_json)
    )


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
    snapshot_every: Annotated[
        float, typer.Option(help="Seconds between snapshots.", min=1.0, envvar="PERENNIAL_SNAPSHOT_EVERY")
    ] = 300.0,
    log_kept: Annotated[
        int,
        typer.Option(
            help="Records that stay in the server's memory; older ones are archived in files.",
            min=1_000,
            envvar="PERENNIAL_LOG_KEPT",
        ),
    ] = 100_000,
    access_log: Annotated[
        bool,
        typer.Option("--access-log", help="A line on stderr for every request.", envvar="PERENNIAL_ACCESS_LOG"),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the service: the log's server, the learner and the workers, until Ctrl-C.

    Example: perennial up --port 8080 --workers 2 --artifact ./artifact
    """
    from api.children import Interrupted
    from api.configuration import settings_of, unknown_variables
    from api.supervisor import Options, StartRefused, Supervisor
    from online.artifact import ArtifactCorrupt, ArtifactMissing, artifact_kind
    from online.log import LogError
    from online.settings import SettingsInvalid

    for problem in unknown_variables(os.environ):
        say(f"perennial: {problem}")
    if settings is not None:
        try:
            settings_of(settings)
        except SettingsInvalid as error:
            refuse(str(error), USAGE)
    folders: dict[str, Path] = {}
    try:
        for folder in artifact or ():
            kind = artifact_kind(folder)
            if kind in folders:
                refuse(f"{folders[kind]} and {folder} are both for {kind}: one artifact per domain", USAGE)
            folders[kind] = folder
    except (ArtifactCorrupt, ArtifactMissing) as error:
        refuse(str(error), MISSING)
    options = Options(
        home=home,
        host=host,
        port=port,
        workers=workers,
        redis_url=redis_url,
        artifact=folders.get("recommendation"),
        pricing_artifact=folders.get("pricing"),
        settings=settings,
        snapshot_every_s=snapshot_every,
        log_kept=log_kept,
        access_log=access_log,
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
    artifacts = f"artifacts: recommendation {address.artifact or 'none'}, pricing {address.pricing_artifact or 'none'}"
    say(f"home {address.home}; {artifacts}; Ctrl-C stops it")


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
    from online.archive import ArchiveCorrupt
    from online.artifact import ArtifactCorrupt, ArtifactMissing
    from online.fold import LogForeign
    from online.log import LogError
    from online.snapshot import SnapshotCorrupt

    try:
        found = verify_home(home, redis_url, say=say)
    except ArchiveCorrupt as error:
        refuse(str(error), CHECK_FAILED)
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
    if found.archived:
        lines.append(f"{found.archived:,} of them out of the archive, whose chain ends with {found.archive_digest}")
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
