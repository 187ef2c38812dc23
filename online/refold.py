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
    asked = sorted(set(positions))
    history = History(reader, artifacts)
    history.scan(min(reader.head(), asked[-1]) if asked else 0)
    branches = {branch for branch in history.lineages.branches() if not asked or branch < asked[-1]}
    timeline = Timeline(history, history.empty(history.begun_from))
    for stop in sorted({*asked, *branches}):
        while timeline.position < stop:
            entries = reader.read(timeline.position, min(READ_MAX, stop - timeline.position), 0)
            if not entries:
                raise LogForeign(f"the log ends at {timeline.position}, before position {stop}")
            timeline.entries(entries, progress=progress)
            if progress:
                progress(timeline.position)
        if stop in branches:
            history.keep(timeline.lineage, timeline.state)
        if stop in asked:
            yield timeline.state
