"""Watches the learner from outside the fold (law 7): running metrics and drift alarms, by river.

A monitor changes nothing: what it sees may at most lead to a logged act. It reads totals of the state between
batches, so its figures follow the log as it was cut into batches, and are no part of any digest.
"""

from dataclasses import dataclass, field

from river import drift, stats

from online.records import ARMS
from online.state import State

NAMES = (
    "prequential_loss",
    "prequential_loss_drifts",
    *(f"{what}_{arm}" for arm in ARMS for what in ("reward_mean", "reward_n", "reward_drifts")),
)
HALF_LIFE_EVENTS = 500
EVENTS_PER_UPDATE = 20  # fewer tested events than this wait for more: ADWIN sees means, not single losses


@dataclass
class Watched:
    """A stream of values: its running mean and the drifts that ADWIN (delta 0.002) has seen in it."""

    mean: stats.EWMean = field(default_factory=lambda: stats.EWMean(fading_factor=1.0 / HALF_LIFE_EVENTS))
    detector: drift.ADWIN = field(default_factory=lambda: drift.ADWIN(delta=0.002))
    drifts: int = 0
    n: float = 0.0
    total: float = 0.0

    def reach(self, n: float, total: float, *, least: int) -> None:
        """The stream's totals are now n and total: what came since is one mean, of that many values."""
        if n < self.n + least:
            return
        value = (total - self.total) / (n - self.n)
        for _ in range(int(n - self.n)):
            self.mean.update(value)
        self.detector.update(value)
        self.drifts += bool(self.detector.drift_detected)
        self.n, self.total = n, total


class Monitor:
    """Prequential loss (test, then learn) and the reward of each arm."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.loss = Watched(n=float(state.views.frame.monitor[0]), total=float(state.views.frame.monitor[1]))
        self.arms = [Watched(n=float(row[0]), total=float(row[1])) for row in state.views.decisions.arms]

    def update(self) -> None:
        """Look at the state's totals."""
        self.loss.reach(*map(float, self._state.views.frame.monitor), least=EVENTS_PER_UPDATE)
        for watched, row in zip(self.arms, self._state.views.decisions.arms, strict=True):
            watched.reach(float(row[0]), float(row[1]), least=1)

    def figures(self) -> list[float]:
        """Values in the order of NAMES."""
        figures = [self.loss.mean.get(), float(self.loss.drifts)]
        for watched in self.arms:
            figures += [watched.mean.get(), watched.n, float(watched.drifts)]
        return figures
