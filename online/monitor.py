"""Watches the learner from outside the fold (law 7): running metrics and drift alarms, by river.

A monitor changes nothing: what it sees may at most lead to a logged act. It reads totals of the state between
batches, so its figures follow the log as it was cut into batches, and are no part of any digest.

river is imported beside the running learner, once that is ready (`Detectors`). What passes until then is noted batch by
batch, and looked at afterwards as it would have been.
"""

import threading
from typing import TYPE_CHECKING

from online.records import ARMS
from online.state import State

if TYPE_CHECKING:
    from online.detectors import Watched

NAMES = (
    "prequential_loss",
    "prequential_loss_drifts",
    *(f"{what}_{arm}" for arm in ARMS for what in ("reward_mean", "reward_n", "reward_drifts")),
)
EVENTS_PER_UPDATE = 20  # fewer tested events than this wait for more: ADWIN sees means, not single losses

Totals = tuple[tuple[float, float], ...]  # (n, sum) of each stream: the loss, and each arm's reward


class Detectors:
    """What river has to offer, imported by a thread of its own. No copy is made of a process while that runs."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._watched: type[Watched] | None = None
        self._error: Exception | None = None

    def start(self) -> None:
        """Begin to import."""
        self._thread = threading.Thread(target=self._import, name="river")
        self._thread.start()

    @property
    def loading(self) -> bool:
        """Whether the thread is still there."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Until it is through."""
        if self._thread is not None:
            self._thread.join()

    @property
    def watched(self) -> "type[Watched] | None":
        """A stream's watcher, None as long as it is not there. Raises what its import has raised."""
        if self._error is not None:
            raise self._error
        return self._watched

    def _import(self) -> None:
        try:
            from online.detectors import Watched

            self._watched = Watched
        except Exception as error:
            self._error = error


class Monitor:
    """Prequential loss (test, then learn) and the reward of each arm, from the state's totals as they are now on."""

    def __init__(self, state: State, detectors: Detectors) -> None:
        self._state = state
        self._detectors = detectors
        self._noted: list[Totals] = [self._totals()]  # of each update that nobody has looked at yet, behind the first
        self._streams: list[Watched] = []

    def update(self) -> bool:
        """Look at the state's totals; whether there are figures yet."""
        totals = self._totals()
        if totals != self._noted[-1]:
            self._noted.append(totals)
        watched = self._detectors.watched
        if watched is None:
            return False
        if not self._streams:
            least = (EVENTS_PER_UPDATE, *(1 for _ in ARMS))
            self._streams = [watched(*first, one) for first, one in zip(self._noted[0], least, strict=True)]
        for noted in self._noted[1:]:
            for stream, (n, total) in zip(self._streams, noted, strict=True):
                stream.reach(n, total)
        del self._noted[:-1]
        return True

    def figures(self) -> list[float]:
        """Values in the order of NAMES, once `update` has said that there are some."""
        loss, *arms = self._streams
        figures = [loss.mean.get(), float(loss.drifts)]
        for watched in arms:
            figures += [watched.mean.get(), watched.n, float(watched.drifts)]
        return figures

    def _totals(self) -> Totals:
        n, total = self._state.views.frame.monitor
        return ((float(n), float(total)), *((float(row[0]), float(row[1])) for row in self._state.views.decisions.arms))
