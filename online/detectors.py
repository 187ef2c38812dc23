"""A watched stream of values, by river.

river's package of drift detectors imports every one of them, and for one of those all of `scipy.stats`: more than half
of a learner's start, 60 MB, and twice the pause of a fork. ADWIN itself needs none of it, so its module is imported
without what its package would bring along.
"""

import importlib
import importlib.util
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

from river import stats

HALF_LIFE_EVENTS = 500


def _without_its_package(name: str) -> ModuleType:
    """The module of this name; its package is not run for it, and is as unknown afterwards as before."""
    package = name.rpartition(".")[0]
    if package not in sys.modules:
        found = importlib.util.find_spec(package)
        if found is None:
            raise ModuleNotFoundError(f"no package {package}", name=package)
        sys.modules[package] = importlib.util.module_from_spec(found)  # knows where its modules lie, and no more
        try:
            return importlib.import_module(name)
        finally:
            del sys.modules[package]
    return importlib.import_module(name)


if TYPE_CHECKING:
    from river.drift.adwin import ADWIN
else:
    ADWIN = _without_its_package("river.drift.adwin").ADWIN


@dataclass
class Watched:
    """A stream of values: its running mean and the drifts that ADWIN (delta 0.002) has seen in it."""

    mean: stats.EWMean = field(default_factory=lambda: stats.EWMean(fading_factor=1.0 / HALF_LIFE_EVENTS))
    detector: ADWIN = field(default_factory=lambda: ADWIN(delta=0.002))
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
