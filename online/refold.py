"""Fold the log again, from the artifact on: the proof that what is served is what was learned."""

from collections.abc import Callable, Iterable, Iterator

from online.artifact import Artifact
from online.fold import LogForeign
from online.history import Entries, History, Progress, Timeline
from online.state import State

READ_MAX = 1024


def refolded(
    reader: Entries,
    artifacts: Callable[[str], Artifact | None],
    positions: Iterable[int],
    *,
    progress: Progress | None = None,
) -> Iterator[State]:
    """The state at each of `positions`, ascending.

    Folded from the log alone, without any snapshot, the acts that changed its past among it. Raises LogForeign where
    the log does not begin, or ends too early.
    """
    history = History(reader, artifacts)
    timeline = Timeline(history, history.empty(history.begun_from))
    for position in sorted(set(positions)):
        while timeline.position < position:
            entries = reader.read(timeline.position, min(READ_MAX, position - timeline.position), 0)
            if not entries:
                raise LogForeign(f"the log ends at {timeline.position}, before position {position}")
            timeline.entries(entries, progress=progress)
            if progress:
                progress(timeline.position)
        yield timeline.state
