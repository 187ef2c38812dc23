"""The command `reproduce`: decide recorded decisions again, whether the service runs or not."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.console import CHECK_FAILED, MISSING, USAGE, Home, Json, default_home, give, refuse, say

if TYPE_CHECKING:
    from online.archive import ArchivedLog
    from online.history import History
    from online.reproduction import Reproduction


def reproduce(
    decision_id: Annotated[str | None, typer.Argument(help="The decision_id or quote_id of an answer.")] = None,
    sample: Annotated[
        int | None, typer.Option(help="Instead of one: so many, drawn from the whole log.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
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
    if (decision_id is None) == (sample is None):
        refuse("name one decision, or --sample so many", USAGE)
    from api.home import history_of, log_of

    progress = _progress()
    with _refusals(), log_of(home, redis_url) as reader:
        history = history_of(home, reader, from_snapshots=not from_artifact)
        if decision_id is not None:
            identical = _tell_one(reader, history, decision_id, progress, as_json)
        else:
            assert sample is not None
            identical = _tell_many(reader, history, sample, seed, progress, as_json)
    for passed_over in history.passed_over:
        say(f"passed over: {passed_over}")
    if not identical:
        raise typer.Exit(CHECK_FAILED)


def _tell_one(
    reader: "ArchivedLog", history: "History", decision_id: str, progress: Callable[[int], None], as_json: bool
) -> bool:
    import msgspec

    from api.identifiers import made_at_ms
    from online.reproduction import Reproducer
    from online.search import find_backwards, find_by_time

    made_ms = made_at_ms(decision_id)
    position = None if made_ms is None else find_by_time(reader, decision_id, made_ms)
    if position is None:
        say("looking through the whole log for it, from its end")
        position = find_backwards(reader, decision_id, progress=progress)
    if position is None:
        refuse(f"no decision {decision_id!r} in the log, whose last position is {reader.head():,}", MISSING)
    found = Reproducer(history).reproduce(position, progress=progress)
    give(msgspec.to_builtins(found), as_json=as_json, text=_text(found))
    return found.identical


def _text(found: "Reproduction") -> str:
    lines = [
        f"decision {found.decision_id} at position {found.log_position:,}, read at position {found.read_position:,}",
        f"  recorded  {found.expected_digest}",
        f"  derived   {found.digest or 'not to be derived'}",
        f"  {'identical, byte for byte' if found.identical else 'NOT IDENTICAL'}",
    ]
    lines += [f"  {one.field}: recorded {one.recorded}, derived {one.derived}" for one in found.differences]
    return "\n".join([*lines, f"  {found.why}"] if found.why else lines)


def _tell_many(
    reader: "ArchivedLog",
    history: "History",
    sample: int,
    seed: int,
    progress: Callable[[int], None],
    as_json: bool,
) -> bool:
    from online.reproduction import Reproducer

    began = time.monotonic()
    drawn = _drawn(reader, sample, seed)
    reproducer = Reproducer(history)
    different: list[dict[str, Any]] = []
    unpromised = 0
    for position in drawn:  # by the position that each read: one state moves through them all
        found = reproducer.reproduce(position, progress=progress)
        unpromised += not found.promised
        if not found.identical and found.promised:
            different.append({"decision_id": found.decision_id, "position": position, "why": found.why})
    seconds = time.monotonic() - began
    result = {
        "compared": len(drawn),
        "identical": len(drawn) - unpromised - len(different),
        "no_longer_promised": unpromised,
        "different": different[:100],
        "seconds": round(seconds, 3),
    }
    lines = [
        f"{len(drawn):,} decisions decided again in {seconds:.1f} s, {result['identical']:,} identical byte for byte"
    ]
    if unpromised:
        lines.append(f"{unpromised:,} rested on records that have been erased since, and are no longer promised")
    lines += [f"  DIFFERENT {one['decision_id']} at position {one['position']:,}: {one['why']}" for one in different]
    give(result, as_json=as_json, text="\n".join(lines))
    return not different


def _drawn(reader: "ArchivedLog", sample: int, seed: int) -> list[int]:
    """Positions of so many decisions of the log, each as likely as any other, in the order of what they read."""
    import random

    from online.again import Decided
    from online.records import decode

    chance, kept, met, after = random.Random(seed), list[tuple[int, int]](), 0, 0
    while entries := reader.read(after, 1_000, 0):
        for position, payload in entries:
            record = decode(payload)
            if isinstance(record, Decided):
                met += 1
                if len(kept) < sample:
                    kept.append((record.read_position, position))
                elif (at := chance.randrange(met)) < sample:
                    kept[at] = (record.read_position, position)
        after = entries[-1][0]
    if not kept:
        refuse("the log holds no decision yet", MISSING)
    return [position for _, position in sorted(kept)]


def _progress() -> Callable[[int], None]:
    told = time.monotonic()

    def progress(position: int) -> None:
        nonlocal told
        if time.monotonic() - told > 2.0:
            told = time.monotonic()
            say(f"at position {position:,}")

    return progress


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    from api.home import HomeEmpty
    from online.fold import LogForeign
    from online.history import PositionUnknown
    from online.log import LogError
    from online.reproduction import Unreproducible

    try:
        yield
    except (HomeEmpty, LogError, LogForeign, PositionUnknown, Unreproducible) as error:
        refuse(str(error), MISSING)
