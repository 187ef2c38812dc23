"""A watched stream of values, by river. Nothing else imports this module but `online.monitor`, beside the running
learner: river brings all of scipy, which takes longer than the rest of a learner's start.
"""

from dataclasses import dataclass, field

from river import drift, stats

HALF_LIFE_EVENTS = 500


@dataclass
class Watched:
    """A stream of values: its running mean and the drifts that ADWIN (delta 0.002) has seen in it."""

    n: float
    total: float
    least: int  # values that make a mean: fewer wait for more
    mean: stats.EWMean = field(default_factory=lambda: stats.EWMean(fading_factor=1.0 / HALF_LIFE_EVENTS))
    detector: drift.ADWIN = field(default_factory=lambda: drift.ADWIN(delta=0.002))
    drifts: int = 0

    def reach(self, n: float, total: float) -> None:
        """The stream's totals are now n and total: what came since is one mean, of that many values."""
        if n < self.n + self.least:
            return
        value = (total - self.total) / (n - self.n)
        for _ in range(int(n - self.n)):
            self.mean.update(value)
        self.detector.update(value)
        self.drifts += bool(self.detector.drift_detected)
        self.n, self.total = n, total
