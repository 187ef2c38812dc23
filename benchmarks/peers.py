"""Recommenders that are fitted again every so often, on the same stream and by the same rules as `replay`.

    pip install -e '.[bench]'
    python benchmarks/peers.py --interactions FILE [--peer item-knn|bm25|als|bpr] [--refresh-every 86400]

The peers are those of `implicit`. Each is fitted on everything up to the last refresh, and is given more than
that: a user's whole history up to the moment of the request. Rules: events in time order; events of one user
at one timestamp are scored before any of them is learned; ranking over the whole catalogue known by then,
without what the user has taken; an item never seen is a miss; ties go against the target.
"""

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from scipy import sparse

from online.interactions import Interactions, read_interactions

TOP = 10


class Peer:
    """One of implicit's models behind two verbs: fit on counts [users, items], score a user's history."""

    def __init__(self, name: str, seed: int) -> None:
        from implicit.als import AlternatingLeastSquares
        from implicit.bpr import BayesianPersonalizedRanking
        from implicit.nearest_neighbours import BM25Recommender, CosineRecommender

        self.model = {
            "item-knn": lambda: CosineRecommender(K=200, num_threads=1),
            "bm25": lambda: BM25Recommender(K=200, K1=1.2, B=0.75, num_threads=1),
            "als": lambda: AlternatingLeastSquares(factors=64, alpha=10.0, num_threads=1, random_state=seed),
            "bpr": lambda: BayesianPersonalizedRanking(factors=64, num_threads=1, random_state=seed),
        }[name]()
        self._neighbours = name in ("item-knn", "bm25")

    def fit(self, counts: sparse.csr_matrix) -> None:
        self.model.fit(counts, show_progress=False)

    def score(self, user: int, history: list[int], items: int) -> np.ndarray:
        """[items] float scores."""
        fitted = (self.model.similarity if self._neighbours else self.model.item_factors).shape[0]
        known = [item for item in history if item < fitted]
        if self._neighbours:
            scores = np.asarray(self.model.similarity[known].sum(axis=0)).ravel()
            return np.pad(scores, (0, items - fitted))
        if hasattr(self.model, "recalculate_user") and known:
            row = sparse.csr_matrix((np.ones(len(known)), ([0] * len(known), known)), shape=(1, fitted))
            query = self.model.recalculate_user(np.array([user]), row)[0]
        elif user < self.model.user_factors.shape[0]:
            query = self.model.user_factors[user]
        else:
            query = np.zeros(self.model.item_factors.shape[1], np.float32)
        return np.pad(self.model.item_factors @ query, (0, items - fitted), constant_values=-np.inf)


def counted(data: Interactions, end: int, items: int) -> sparse.csr_matrix:
    """Counts [users, items] of the first `end` interactions."""
    shape = (int(data.user[:end].max()) + 1, items)
    return sparse.csr_matrix((np.ones(end, np.float32), (data.user[:end], data.item[:end])), shape=shape)


def replay(data: Interactions, *, peer: Peer, start: int, score_every: int, refresh_s: float) -> dict[str, float]:
    """Test, then learn, over interactions start … end; refits whenever refresh_s of event time have gone by."""
    history: dict[int, list[int]] = defaultdict(list)
    for user, item in zip(data.user[:start].tolist(), data.item[:start].tolist(), strict=True):
        history[user].append(item)
    items = int(data.item[:start].max()) + 1  # codes are given in order of first appearance
    fitted_ms, fits, scored = -1, 0, 0
    hits = gain = reciprocal = 0.0
    began = time.perf_counter()
    at = start
    while at < len(data):
        end = at + 1
        while end < len(data) and data.at_ms[end] == data.at_ms[at]:
            end += 1
        if fitted_ms < 0 or (refresh_s > 0 and data.at_ms[at] - fitted_ms >= refresh_s * 1000):
            peer.fit(counted(data, at, items))
            fitted_ms, fits = int(data.at_ms[at]), fits + 1
            if sys.stderr.isatty():
                print(f"\r{at - start:,} of {len(data) - start:,}, {fits} fits", end="", file=sys.stderr)
        for event in range(at, end):
            if (event - start) % score_every:
                continue
            scored += 1
            user, target = int(data.user[event]), int(data.item[event])
            past = history[user]
            if target >= items or target in past:
                continue
            scores = peer.score(user, past, items) if past else np.zeros(items)
            scores[past] = -np.inf
            rank = int((scores >= scores[target]).sum())
            hits += rank <= TOP
            gain += 1.0 / np.log2(rank + 1) if rank <= TOP else 0.0
            reciprocal += 1.0 / rank
        for event in range(at, end):
            history[int(data.user[event])].append(int(data.item[event]))
            items = max(items, int(data.item[event]) + 1)
        at = end
    wall = time.perf_counter() - began
    return {
        "n": scored,
        "hr@10": hits / scored,
        "ndcg@10": gain / scored,
        "mrr": reciprocal / scored,
        "fits": fits,
        "events_per_second": (len(data) - start) / wall,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=Path)
    parser.add_argument("--peer", choices=("item-knn", "bm25", "als", "bpr"), default="item-knn")
    parser.add_argument("--pretrain-share", type=float, default=0.8)
    parser.add_argument("--score-every", type=int, default=10)
    parser.add_argument("--refresh-every", type=float, default=86_400.0, help="seconds of event time; 0: never")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.interactions is None:
        print("no --interactions FILE: nothing to compare on")
        return
    data = read_interactions(options.interactions)
    figures = replay(
        data,
        peer=Peer(options.peer, options.seed),
        start=int(len(data) * options.pretrain_share),
        score_every=options.score_every,
        refresh_s=options.refresh_every,
    )
    print(json.dumps({"peer": options.peer, "refresh_every_s": options.refresh_every, **figures}))


if __name__ == "__main__":
    main()
