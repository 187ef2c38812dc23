"""How well queries rank what came next: HR@10, NDCG@10, MRR over the full catalogue.

Ties go against the target, items that the person took before are left out, so that a repeat is a miss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from batch.network import Network
from batch.sequences import Sequences

TOP = 10
BATCH_TOKENS = 65_536


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over n ranked targets."""

    n: int
    hr_at_10: float
    ndcg_at_10: float
    mrr: float

    def as_json(self) -> dict[str, float]:
        return {"n": self.n, "hr@10": self.hr_at_10, "ndcg@10": self.ndcg_at_10, "mrr": self.mrr}


def scores_of(ranks: np.ndarray) -> Scores:
    """ranks: float64 [n], 1 is best, infinity a miss."""
    if len(ranks) == 0:
        return Scores(0, 0.0, 0.0, 0.0)
    hit = ranks <= TOP
    gain = np.where(hit, 1.0 / np.log2(1.0 + np.where(hit, ranks, 1.0)), 0.0)
    return Scores(len(ranks), float(hit.mean()), float(gain.mean()), float((1.0 / ranks).mean()))


@torch.no_grad()
def target_ranks(
    network: Network, sequences: Sequences, users: np.ndarray, targets: np.ndarray, *, vectors: Tensor | None = None
) -> np.ndarray:
    """The rank of the item at position targets[i] of the sequence of users[i], given what stands before.

    users, targets: int64 [n], targets from 1; vectors: what to score with instead of the network's [items, d].
    Returns float64 [n]; a repeat has rank infinity.
    """
    network.eval()
    device = network.items.weight.device
    vectors = network.items.weight if vectors is None else vectors
    ranks = np.full(len(users), np.inf)
    order = np.argsort(targets, kind="stable")  # alike lengths together: little padding
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and (end - begin + 1) * int(targets[order[end]]) <= BATCH_TOKENS:
            end += 1
        rows = order[begin:end]
        begin = end
        length = int(targets[rows].max())
        item = np.zeros((length, len(rows)), np.int64)
        for column, row in enumerate(rows):
            first = sequences.start[users[row]]
            item[: targets[row], column] = sequences.item[first : first + targets[row]]
        inputs = torch.from_numpy(item).to(device)
        age = torch.arange(length, device=device).unsqueeze(1).expand(length, len(rows))
        columns = torch.arange(len(rows), device=device)
        last = torch.from_numpy(targets[rows] - 1).to(device)
        query = network(inputs, age)[last, columns].float()  # [rows, d]
        score = query @ vectors.T  # [rows, items]
        target = torch.from_numpy(sequences.item[sequences.start[users[rows]] + targets[rows]]).to(device)
        own = score[columns, target].unsqueeze(1)
        seen = torch.zeros_like(score, dtype=torch.bool)
        seen[columns.expand_as(inputs), inputs] = True  # the padding marks item 0 ...
        took_first = ((item == 0) & (np.arange(length)[:, None] < targets[rows])).any(axis=0)
        seen[:, 0] = torch.from_numpy(took_first).to(device)  # ... which only those who took it have seen
        rank = (~(score < own) & ~seen).sum(dim=1)  # counts the target, and every NaN against it
        ranks[rows] = torch.where(seen[columns, target], math.inf, rank.double()).cpu().numpy()
    return ranks
