"""How good a purchase model is on requests that it has not learned from: log loss, and calibration in ten bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 10


@dataclass(frozen=True, slots=True)
class Scores:
    """Of the purchase model on rows it has not learned from."""

    n: int
    log_loss: float
    base_log_loss: float  # of the booked share alone
    calibration_error: float  # mean distance of predicted and booked share, over bins of equal size
    bins: list[dict[str, float]]

    def as_json(self) -> dict[str, Any]:
        """As the manifest and the command line show it."""
        return {
            "n": self.n,
            "log_loss": self.log_loss,
            "base_log_loss": self.base_log_loss,
            "calibration_error": self.calibration_error,
            "calibration": self.bins,
        }


def scores_of(pi: np.ndarray, booked: np.ndarray) -> Scores:
    """Log loss and calibration of predicted chances pi [n] against what happened [n]."""
    pi = np.clip(pi, 1e-9, 1.0 - 1e-9)
    loss = -np.log(np.where(booked > 0.5, pi, 1.0 - pi)).mean()
    share = np.clip(booked.mean(), 1e-9, 1.0 - 1e-9)
    base = -(share * np.log(share) + (1.0 - share) * np.log(1.0 - share))
    parts = np.array_split(np.argsort(pi, kind="stable"), min(BINS, len(pi)))
    bins = [
        {"predicted": float(pi[part].mean()), "booked": float(booked[part].mean()), "n": len(part)} for part in parts
    ]
    error = sum(bin["n"] * abs(bin["predicted"] - bin["booked"]) for bin in bins) / len(pi)
    return Scores(len(pi), float(loss), float(base), float(error), bins)
