"""A snapshot on demand: the newest one, and the log after it, folded by this process. The learner is not disturbed."""

from collections.abc import Callable
from pathlib import Path

from api.home import beginning, log_of, pricing_beginning
from online.frame import COUNTERS
from online.learner import Learner
from online.snapshot import Snapshot, write_snapshot


def create_snapshot(home: Path, redis_url: str | None, *, label: str, say: Callable[[str], None]) -> Snapshot:
    """Write a snapshot of the state at the log's end. One with a label is never removed by the service.

    Raises HomeEmpty, LogError, Artifact…
    """
    with log_of(home, redis_url) as reader:
        artifact, settings = beginning(home, reader)
        pricing = pricing_beginning(home, reader)
        learner = Learner(home, reader, artifact, settings, folder=None, pricing=pricing)
        learner.catch_up()
        state = learner.state
        entry = reader.entry(state.position) or b""
        counters = {name: int(v) for name, v in zip(COUNTERS, state.views.frame.counters, strict=True)}
        written = write_snapshot(
            home / "snapshots", state, entry=entry, reason="asked for", counters=counters, label=label
        )
        say(f"{written.bytes / 1e6:.1f} MB at position {written.position:,}")
        return written
