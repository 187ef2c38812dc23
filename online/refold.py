"""Fold the log again, from the artifact on: the proof that what is served is what was learned."""

from collections.abc import Callable, Iterable, Iterator

from online.artifact import Artifact
from online.fold import Fold, LogForeign
from online.log import LogReader
from online.records import Begin, decode
from online.settings import read_settings
from online.state import State

READ_MAX = 1024


def refolded(
    reader: LogReader,
    artifact: Artifact | None,
    positions: Iterable[int],
    *,
    pricing: Artifact | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[State]:
    """The state at each of `positions`, ascending; one and the same State, further on each time.

    Folded from the log alone, without any snapshot. Raises LogForeign where the log does not begin, or ends too early.
    """
    payload = reader.entry(1)
    first = decode(payload) if payload is not None else None
    if not isinstance(first, Begin):
        raise LogForeign("the log does not start with its beginning: it was trimmed, or it is no log of this service")
    state = State(read_settings(first.settings), artifact, pricing=pricing)
    fold = Fold(state)
    for position in sorted(set(positions)):
        while state.position < position:
            entries = reader.read(state.position, min(READ_MAX, position - state.position), 0)
            if not entries:
                raise LogForeign(f"the log ends at {state.position}, before position {position}")
            fold.entries((at, decode(record)) for at, record in entries)
            if progress:
                progress(state.position)
        yield state
