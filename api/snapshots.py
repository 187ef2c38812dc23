"""A snapshot on demand: the nearest one, and the log after it, folded by this process. The learner is not disturbed."""

from collections.abc import Callable
from pathlib import Path

from api.home import history_of, log_of
from online.history import History
from online.learner import counters_of
from online.snapshot import Snapshot, write_snapshot


def create_snapshot(home: Path, redis_url: str | None, *, label: str, say: Callable[[str], None]) -> Snapshot:
    """Write a snapshot of the state at the log's end. One with a label is never removed by the service.

    Raises HomeEmpty, LogError, LogForeign, Artifact…
    """
    with log_of(home, redis_url) as reader:
        written = snapshot_at(home, history_of(home, reader), reader.head(), label=label)
        say(f"{written.bytes / 1e6:.1f} MB at position {written.position:,}")
        return written


def snapshot_at(home: Path, history: History, position: int, *, label: str) -> Snapshot:
    """Write a snapshot of the state at a position."""
    place = history.state_at(position)
    return write_snapshot(
        home / "snapshots",
        place.state,
        entry=history.reader.entry(position) or b"",
        reason="asked for",
        counters=counters_of(place.state),
        lineage=place.lineage,
        acts=[act for act in history.lineages.acts if act[0] <= position],
        label=label,
    )
