"""Watches the learner from outside the fold (law 7): running metrics and drift alarms, by river.

A monitor changes nothing: what it sees may at most lead to a logged act. It reads totals of the state between
batches, so its figures follow the log as it was cut into batches, and are no part of any digest.
"""

from online.records import ARMS
from online.state import State

NAMES = (
    "prequential_loss",
    "prequential_loss_drifts",
    *(f"{what}_{arm}" for arm in ARMS for what in ("reward_mean", "reward_n", "reward_drifts")),
)
EVENTS_PER_UPDATE = 20  # fewer tested events than this wait for more: ADWIN sees means, not single losses


class Monitor:
    """Prequential loss (test, then learn) and the reward of each arm."""

    def __init__(self, state: State) -> None:
        from online.detectors import Watched  # here: workers want the names alone

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
