"""Response: what the learners take from a slate when its window closes."""

import numpy as np

from online.arithmetic import log2
from online.compiling import kernel
from online.journal import Journal, touch
from online.recommendation.layout import Learners

RESPONSE_PRIOR = 4.0  # rewards of a mean item that stand against what an item itself has earned: its own are few
OPTIMISM = 2.5  # times the mean that an item is trusted to earn until then
IMPRESSIONS_MAX = 1_000.0  # of an item that are remembered at full weight


@kernel
def learn_slate(
    learners: Learners,
    journal: Journal,
    at_ms: int,
    context: np.ndarray,
    shown: np.ndarray,
    rewards: np.ndarray,
    propensities: np.ndarray,
) -> None:
    """Learn from a slate whose window has closed: how its items respond to being shown.

    shown: i4 [n] item rows (-1 is gone), rewards: f4 [n] in [0, 1], propensities: f4 [n]. A position counts the less
    the lower it stands, since it is seen less often; one that was answered was seen.
    """
    items, response = learners.items, learners.mixing.response
    seen = 0.0
    for k in range(shown.shape[0]):
        row = shown[k]
        if row < 0:
            continue
        share = 1.0 if rewards[k] > 0.0 else 1.0 / (1.0 + 0.2 * k)
        items.shown[row] += np.float32(share)
        items.reward[row] += rewards[k] * np.float32(share)
        if items.shown[row] > IMPRESSIONS_MAX:
            # Old impressions give way to the newest.
            items.shown[row] *= np.float32(0.5)
            items.reward[row] *= np.float32(0.5)
        response[1] += share
        response[2] += float(rewards[k]) * share
        seen += share
    if response[1] > 100.0 * IMPRESSIONS_MAX:
        response[1] *= 0.5
        response[2] *= 0.5
    if seen == 0.0:
        return
    response[0] = (response[2] + 1.0) / (response[1] + 10.0)
    for k in range(shown.shape[0]):
        row = shown[k]
        if row >= 0:
            # log2 of how many times the mean it earns, shrunk towards OPTIMISM, less what an item is trusted with that
            # was never shown: so that one stands at 0, and a mediocre one falls behind it once it has had its chance.
            earned = float(items.reward[row]) + RESPONSE_PRIOR * OPTIMISM
            expected = float(items.shown[row]) * response[0] + RESPONSE_PRIOR
            items.response[row] = log2(earned / expected) - log2(OPTIMISM)
            touch(journal.items, row)
