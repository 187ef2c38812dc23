"""Models of `implicit`, fitted again every so often, as a nightly or hourly job would.

A fit knows everything up to its moment. Between two fits a user's history goes on: item neighbours are summed over all
of it, ALS solves for the user anew (fold-in), BPR answers as of the fit.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from typing import Any

import numpy as np
from scipy import sparse

from benchmarks.peers.stream import Size

MODELS = ("item-knn", "bm25", "als", "bpr")


class Refitted:
    """One of MODELS; refresh_s of event time between two fits, 0 is one fit only."""

    def __init__(self, size: Size, *, model: str, refresh_s: float, seed: int = 0, **settings: Any) -> None:
        self.name = f"implicit {model}"
        self.kind, self.refresh_ms, self.seed, self.settings = model, refresh_s * 1000.0, seed, settings
        self.size = size
        self.rows: list[tuple[np.ndarray, np.ndarray]] = []
        self.history: dict[int, list[int]] = defaultdict(list)
        self.model: Any = None
        self.fitted_ms = -1
        self.fitted = 0  # items
        self.fits = 0

    def learn(self, user: np.ndarray, item: np.ndarray, at_ms: np.ndarray) -> None:
        self.rows.append((user, item))
        for u, i in zip(user.tolist(), item.tolist(), strict=True):
            self.history[u].append(i)

    def score(self, user: int, at_ms: int, scores: np.ndarray) -> None:
        if self.fitted_ms < 0 or 0 < self.refresh_ms <= at_ms - self.fitted_ms:
            self.fit(at_ms)
        past = [item for item in self.history.get(user, ()) if item < self.fitted]
        scores[self.fitted :] = -np.inf
        if self.kind in ("item-knn", "bm25"):
            if past:
                scores[: self.fitted] = np.asarray(self.model.similarity[past].sum(axis=0)).ravel()[: self.fitted]
            return
        if self.kind == "als" and past:
            row = sparse.csr_matrix((np.ones(len(past), np.float32), ([0] * len(past), past)), shape=(1, self.fitted))
            query = self.model.recalculate_user(np.array([0]), row)[0]
        elif self.kind == "bpr" and user < len(self.model.user_factors):
            query = self.model.user_factors[user]
        else:
            return
        scores[: self.fitted] = self.model.item_factors @ query

    def fit(self, at_ms: int) -> None:
        user = np.concatenate([user for user, _ in self.rows])
        item = np.concatenate([item for _, item in self.rows])
        self.rows = [(user, item)]
        self.fitted = int(item.max()) + 1
        shape = (int(user.max()) + 1, self.fitted)
        self.model = self._new()
        taken = sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=shape)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Method expects CSR input")  # its own weighting hands it on so
            self.model.fit(taken, show_progress=False)
        self.fitted_ms, self.fits = at_ms, self.fits + 1

    def _new(self) -> Any:
        from implicit.als import AlternatingLeastSquares
        from implicit.bpr import BayesianPersonalizedRanking
        from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
        from threadpoolctl import threadpool_limits

        threadpool_limits(1, "blas")  # as implicit asks for, and everybody here has one core
        match self.kind:
            case "item-knn":
                return CosineRecommender(**{"K": 200, "num_threads": 1, **self.settings})
            case "bm25":
                return BM25Recommender(**{"K": 200, "num_threads": 1, **self.settings})
            case "als":
                given = {"factors": 64, "num_threads": 1, "random_state": self.seed, **self.settings}
                return AlternatingLeastSquares(**given)
            case _:
                given = {"factors": 64, "num_threads": 1, "random_state": self.seed, **self.settings}
                return BayesianPersonalizedRanking(**given)
