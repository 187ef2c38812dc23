"""Quality against parameter lag: what viewers found by themselves, replayed with parameters that are allowed to age.

Every point is `perennial replay recommendation` on the same events through the same fold and decide code as the
service's: the artifact, then the stream, learned in batches of so many seconds of event time. The stream is what no
slate has caused: a title that was watched because we showed it would be no test of whether to show it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from simulations.history import History
from simulations.processes import Child
from simulations.results import LagPoint

LAGS = (("6 h", 21_600), ("1 h", 3_600), ("10 min", 600), ("each event", 0))
SCORED = 2_000  # events ranked for each point, spread evenly over the stream


def measure_lags(
    *,
    history: History,
    stream: Path,
    artifact: Path,
    folder: Path,
    still: Callable[[str], None],
    lags: Sequence[tuple[str, int]] = LAGS,
) -> tuple[list[LagPoint], str]:
    """HR@10 for every lag, and for the model that is never refreshed; with the sentence that says what was measured."""
    folder.mkdir(parents=True)
    whole = folder / "interactions.csv"
    events = _joined(history.interactions, stream, whole)
    if events == 0:
        return [], "no events in the stream"
    every = max(1, events // SCORED)
    points: list[LagPoint] = []
    for label, lag_s in lags:
        answer = _replay(whole, artifact, history.until_ms, lag_s, every, folder, partial(still, label))
        if not points:
            frozen = answer["variants"]["frozen+state"]["all"]
            points.append(LagPoint("never", None, frozen["hr@10"], frozen["n"]))
        continued = answer["variants"]["continued"]["all"]
        points.append(LagPoint(label, float(lag_s), continued["hr@10"], continued["n"]))
    note = (
        f"HR@10 of {points[-1].n:,} titles that viewers found without a slate, the whole catalogue ranked. "
        "Viewers' own states are always fresh, shared parameters are as old as the bar says."
    )
    return points, note


def _joined(history: Path, stream: Path, whole: Path) -> int:
    """History and stream in one file. -> events of the stream"""
    past = history.read_text(encoding="utf-8")
    head, _, rows = stream.read_text(encoding="utf-8").partition("\n")
    if not past.startswith(head + "\n"):
        raise ValueError(f"{stream} has other columns than {history}")
    whole.write_text(past + rows, encoding="utf-8")
    return rows.count("\n")


def _replay(
    whole: Path, artifact: Path, from_ms: int, lag_s: int, every: int, folder: Path, still: Callable[[], None]
) -> dict:
    arguments = ["-m", "api.command", "replay", "recommendation", "--json", "--interactions", str(whole)]
    arguments += ["--artifact", str(artifact), "--stream-from", str(from_ms)]
    arguments += ["--refresh-every", str(lag_s), "--score-every", str(every)]
    child = Child("replay", arguments, talk=folder / f"replay-{lag_s}.log")
    try:
        while child.process.poll() is None:
            time.sleep(0.1)
            still()
        child.check()
        return json.loads(child.results.read())
    finally:
        child.stop(timeout_s=10.0)
