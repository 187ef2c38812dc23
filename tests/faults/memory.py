"""Memory of a service's processes over time, and how fast it grows: by kind of process, over all their lives.

What counts is a process's own anonymous memory (RssAnon): shared pages are one service's, not each process's.
"""

import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

KINDS = (("online.learner", "learner"), ("api.worker", "worker"), ("valkey", "log server"), ("api.past", "past"))
EVERY_S = 2.0


class Slope(NamedTuple):
    """Growth in MB an hour with its 95 % interval, out of so many samples of so many lives."""

    mb_per_hour: float
    interval: float
    samples: int
    lives: int
    hours: float
    largest_mb: float


def slope(lives: Sequence[Sequence[tuple[float, float]]], *, warm_up_s: float) -> Slope | None:
    """One slope for all lives, each with a level of its own: least squares over (seconds, MB) behind the warm-up.

    Neighbouring samples are much alike, so the interval is of the means of ten stretches of each life, not of samples.
    None where no life lasted long enough for three stretches.

    >>> straight = [(10.0 * k, 50.0 + k / 36.0) for k in range(400)]
    >>> round(slope([straight], warm_up_s=0.0).mb_per_hour, 6)
    10.0
    """
    weight = longest = 0.0
    points: list[tuple[float, float]] = []
    used = samples = 0
    for life in lives:
        later = [(at, mb) for at, mb in life if at - life[0][0] >= warm_up_s]
        if len(later) < 30:
            continue
        size = len(later) / 10
        parts = [later[int(k * size) : int((k + 1) * size)] for k in range(10)]
        means = [(statistics.fmean(at for at, _ in part), statistics.fmean(mb for _, mb in part)) for part in parts]
        middle_s, middle_mb = (statistics.fmean(one[k] for one in means) for k in range(2))
        points += [(at - middle_s, mb - middle_mb) for at, mb in means]
        used, samples = used + 1, samples + len(later)
        weight += later[-1][0] - later[0][0]
        longest = max(longest, *(mb for _, mb in later))
    if not used:
        return None
    over = sum(at * mb for at, mb in points)
    over_squares = sum(at * at for at, _ in points)
    found = over / over_squares
    rest = sum((mb - found * at) ** 2 for at, mb in points)
    free = len(points) - used - 1
    error = math.sqrt(rest / free / over_squares)
    return Slope(found * 3_600, 1.96 * error * 3_600, samples, used, weight / 3_600, longest)


class Watch:
    """Samples the processes below one, in a thread, until `stop`."""

    def __init__(self, root: Callable[[], int]) -> None:
        self._root = root
        self._lives: dict[tuple[str, int], list[tuple[float, float]]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more samples."""
        self._over.set()
        self._thread.join()

    def lives(self, kind: str) -> list[list[tuple[float, float]]]:
        """(seconds, MB) of each process of a kind."""
        return [samples for (one, _), samples in list(self._lives.items()) if one == kind]

    def now_mb(self) -> dict[str, float]:
        """The newest sample of each kind, summed."""
        found: dict[str, float] = {}
        since = time.monotonic() - 3 * EVERY_S
        for (kind, _), samples in list(self._lives.items()):
            if samples[-1][0] > since:
                found[kind] = round(found.get(kind, 0.0) + samples[-1][1], 1)
        return found

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            for pid, kind in below(self._root()):
                mb = own_mb(pid)
                if mb is not None:
                    self._lives.setdefault((kind, pid), []).append((time.monotonic(), mb))


def below(root: int) -> list[tuple[int, str]]:
    """A process and all that come of it, with their kinds; what is none of KINDS is left out."""
    parents: dict[int, int] = {}
    kinds: dict[int, str] = {root: "supervisor"}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            kinds.setdefault(int(entry.name), next((kind for part, kind in KINDS if part in command), ""))
    found = [root]
    for one in found:
        found += [pid for pid, parent in parents.items() if parent == one]
    # A learner's child writes a snapshot out of a copy of it, and ends.
    return [
        (pid, kinds[pid])
        for pid in found
        if kinds.get(pid) and (pid == root or kinds.get(parents.get(pid, 0)) != kinds[pid])
    ]


def own_mb(pid: int) -> float | None:
    """Its anonymous resident memory; None where it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = text.partition("RssAnon:")[2].split()
    return int(found[0]) / 1_024 if found else None
