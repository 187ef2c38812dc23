"""Learners of `river`, one sample at a time: a take is a 1, and items that others took lately are zeros.

Ranking a catalogue asks for one prediction per item, in Python: milliseconds for each event, so that only so many
events are ranked (`RANKED_MAX`), spread evenly over those that everybody ranks.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from benchmarks.peers.stream import Size

RANKED_MAX = 500
RECENT = 2_000


class RiverModel:
    """`BiasedMF` or a factorisation machine over user, item and the user's last item."""

    def __init__(
        self, size: Size, *, model: str, rate: float = 0.05, factors: int = 16, negatives: int = 2, seed: int = 0
    ) -> None:
        from river import facto, optim, reco

        self.name = f"river {model}"
        self.machine = model == "FM"
        self.negatives = negatives
        self.model: Any
        if self.machine:
            self.model = facto.FMClassifier(
                n_factors=factors,
                weight_optimizer=optim.SGD(rate),
                latent_optimizer=optim.SGD(rate),
                latent_initializer=optim.initializers.Normal(mu=0.0, sigma=0.1, seed=seed),
                seed=seed,
            )
        else:
            self.model = reco.BiasedMF(
                n_factors=factors,
                bias_optimizer=optim.SGD(rate),
                latent_optimizer=optim.SGD(rate),
                latent_initializer=optim.initializers.Normal(mu=0.0, sigma=0.1, seed=seed),
                seed=seed,
            )
        self.chance = np.random.default_rng(seed)
        self.recent: deque[int] = deque(maxlen=RECENT)
        self.last: dict[int, int] = {}
        self.known = 0

    def learn(self, user: np.ndarray, item: np.ndarray, at_ms: np.ndarray) -> None:
        for u, i in zip(user.tolist(), item.tolist(), strict=True):
            self._one(u, i, 1)
            if self.recent:
                for at in self.chance.integers(len(self.recent), size=self.negatives).tolist():
                    if (other := self.recent[at]) != i:
                        self._one(u, other, 0)
            self.recent.append(i)
            self.last[u] = i
            self.known = max(self.known, i + 1)

    def score(self, user: int, at_ms: int, scores: np.ndarray) -> None:
        scores[self.known :] = -np.inf
        if self.machine:
            last = self.last.get(user, -1)
            for i in range(self.known):
                scores[i] = self.model.predict_proba_one({f"u{user}": 1.0, f"i{i}": 1.0, f"l{last}": 1.0})[True]
        else:
            for i in range(self.known):
                scores[i] = self.model.predict_one(user=user, item=i)

    def _one(self, user: int, item: int, aim: int) -> None:
        if self.machine:
            sample = {f"u{user}": 1.0, f"i{item}": 1.0, f"l{self.last.get(user, -1)}": 1.0}
            self.model.learn_one(sample, bool(aim))
        else:
            self.model.learn_one(user=user, item=item, y=float(aim))
