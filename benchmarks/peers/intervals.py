"""How far a difference of two recommenders on the same events may be chance: users are drawn again, not events.

A user's events hang together, so a sample of users is what another week could have brought.
"""

from __future__ import annotations

import numpy as np

DRAWS = 2_000


def paired_interval(
    difference: np.ndarray, user: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of `difference` over events [n], and its 95 % interval by a bootstrap over users. -> mean, low, high

    >>> paired_interval(np.ones(4), np.array([1, 1, 2, 3]))
    (1.0, 1.0, 1.0)
    """
    _, code = np.unique(user, return_inverse=True)
    total = np.bincount(code, weights=difference)
    events = np.bincount(code).astype(np.float64)
    chance = np.random.default_rng(seed)
    users = len(total)
    means = np.empty(draws)
    for draw in range(draws):
        times = np.bincount(chance.integers(users, size=users), minlength=users)
        means[draw] = (times @ total) / (times @ events)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(difference.mean()), float(low), float(high)
