"""The command `reproduce`: decide a recorded decision again, whether the service runs or not."""

import time
from typing import Annotated

import typer

from api.console import CHECK_FAILED, MISSING, Home, Json, default_home, give, refuse, say


def reproduce(
    decision_id: Annotated[str, typer.Argument(help="The decision_id of an answer.")],
    home: Home = default_home(),
    redis_url: Annotated[str | None, typer.Option(help="The log's server, where it is not this home's own.")] = None,
    from_artifact: Annotated[
        bool, typer.Option("--from-artifact", help="Use no snapshot: fold from the log's beginning.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rebuild the state of a decision's moment, decide again, compare byte by byte. Exit code 0 only if identical.

    Example: perennial reproduce 0194bd2e-7c00-7d3a-9f00-3b6f0c2a9e11
    """
    import msgspec

    from api.home import HomeEmpty, history_of, log_of
    from api.identifiers import made_at_ms
    from online.fold import LogForeign
    from online.history import PositionUnknown
    from online.log import LogError
    from online.reproduction import Reproducer, Unreproducible
    from online.search import find_backwards, find_by_time

    told = time.monotonic()

    def progress(position: int) -> None:
        nonlocal told
        if time.monotonic() - told > 2.0:
            told = time.monotonic()
            say(f"at position {position:,}")

    try:
        with log_of(home, redis_url) as reader:
            history = history_of(home, reader, from_snapshots=not from_artifact)
            made_ms = made_at_ms(decision_id)
            position = None if made_ms is None else find_by_time(reader, decision_id, made_ms)
            if position is None:
                say("looking through the whole log for it, from its end")
                position = find_backwards(reader, decision_id, progress=progress)
            if position is None:
                refuse(f"no decision {decision_id!r} in the log, whose last position is {reader.head():,}", MISSING)
            found = Reproducer(history).reproduce(position, progress=progress)
    except (HomeEmpty, LogError, LogForeign, PositionUnknown, Unreproducible) as error:
        refuse(str(error), MISSING)
    for passed_over in history.passed_over:
        say(f"passed over: {passed_over}")
    lines = [
        f"decision {found.decision_id} at position {found.log_position:,}, read at position {found.read_position:,}",
        f"  recorded  {found.expected_digest}",
        f"  derived   {found.digest or 'not to be derived'}",
        f"  {'identical, byte for byte' if found.identical else 'NOT IDENTICAL'}",
    ]
    lines += [f"  {one.field}: recorded {one.recorded}, derived {one.derived}" for one in found.differences]
    if found.why:
        lines.append(f"  {found.why}")
    give(msgspec.to_builtins(found), as_json=as_json, text="\n".join(lines))
    if not found.identical:
        raise typer.Exit(CHECK_FAILED)
