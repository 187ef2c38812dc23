"""Mixing: how far each expert is trusted, and one weight per feature of what they give together.

The mixture is linear: the probability that an item is taken next is the sum of the experts' shares for it, each times
the trust in that expert in the user's situation. Trust follows the experts' responsibilities for what was taken, a
running step of expectation maximisation (Cappé and Moulines, J. R. Stat. Soc. B 71, 2009).

score(item) = sum of weight * feature, of which the mixture's logarithm is one; the weights follow the gradient of the
softmax over the taken item and its hardest rivals, scaled by AdaGrad (Duchi et al., JMLR 2011). What a situation adds
is pulled back towards zero each time it moves, so one that has seen little speaks with the shared weights.
"""

import numpy as np

from online.compiling import kernel
from online.recommendation.layout import (
    F_MIXTURE,
    F_RESPONSE,
    F_TASTE,
    FEATURES,
    RING,
    SHARES,
    MixingArrays,
)

STEP_MAX = 0.1  # of one weight at one event
WEIGHT_MAX = 8.0
SHRINKAGE = 1e-5  # of a situation's own part, at each of its steps
FIRST_GRADIENT = 300.0  # AdaGrad's sums start here: the first few events say little
TRUST_RATE_MAX = 0.05
LEAST_TRUST = 1e-5  # what an expert keeps however wrong it was: it can come back


def _first_weights() -> np.ndarray:
    """Shared weights before anything was learned: [FEATURES]."""
    weights = np.zeros(FEATURES)
    weights[F_MIXTURE] = 1.0
    weights[F_TASTE] = 0.7
    weights[F_RESPONSE] = 1.0
    return weights


FIRST_KIN = 0.5  # of kinship, likewise
FIRST_WEIGHTS = _first_weights()  # what is learned is kept as a difference from these


@kernel
def situation(takes: np.ndarray, ring_at_ms: np.ndarray, user: int, at_ms: int, gap_ms: float) -> int:
    """0 nobody known, 1 a new session, else 2, 3, 4: this session's takes so far, one, two, more."""
    if user < 0 or takes[user] == 0:
        return 0
    taken = takes[user]
    later = at_ms
    inside = 0
    while inside < 3 and inside < min(taken, RING):
        before = ring_at_ms[user, (taken - 1 - inside) % RING]
        if later - before > gap_ms:
            break
        later = before
        inside += 1
    return 1 + inside


@kernel
def set_weights(mixing: MixingArrays, segment: int, weight: np.ndarray, trust: np.ndarray, kin: np.ndarray) -> None:
    """What holds in a situation: weight f4 [FEATURES], trust f4 [SHARES], kin f4 [1]."""
    kin[0] = FIRST_KIN + mixing.kin[0, 0] + mixing.kin[1 + segment, 0]
    for f in range(FEATURES):
        weight[f] = FIRST_WEIGHTS[f] + mixing.weight[0, f] + mixing.weight[1 + segment, f]
    for k in range(SHARES):
        trust[k] = mixing.trust[segment, k]


@kernel
def _move(weights: np.ndarray, sums: np.ndarray, row: int, gradient: np.ndarray, rate: float, kept: float) -> None:
    for f in range(gradient.shape[0]):
        g = gradient[f]
        if g == 0.0:
            continue
        sums[row, f] += g * g
        step = rate * g / np.sqrt(FIRST_GRADIENT + sums[row, f])
        step = min(STEP_MAX, max(-STEP_MAX, step))
        weights[row, f] = min(WEIGHT_MAX, max(-WEIGHT_MAX, weights[row, f] * kept - step))


@kernel
def move_weights(mixing: MixingArrays, segment: int, gradient: np.ndarray, rate: float) -> None:
    """One step against `gradient` [FEATURES] of the loss, for the shared weights and the situation's own part."""
    _move(mixing.weight, mixing.gradient, 0, gradient, rate, 1.0)
    _move(mixing.weight, mixing.gradient, 1 + segment, gradient, rate, 1.0 - SHRINKAGE)


@kernel
def move_kin(mixing: MixingArrays, segment: int, gradient: np.ndarray, rate: float) -> None:
    """As `move_weights`, for the weight of kinship; gradient: [1]."""
    _move(mixing.kin, mixing.kin_gradient, 0, gradient, rate, 1.0)
    _move(mixing.kin, mixing.kin_gradient, 1 + segment, gradient, rate, 1.0 - SHRINKAGE)


@kernel
def move_trust(trust: np.ndarray, segment: int, shares: np.ndarray, rate: float) -> None:
    """One step of expectation maximisation: towards each expert's part in the probability of the item that was taken.

    trust: f8 [SEGMENTS, SHARES]; shares: [SHARES], what each expert gave that item. Where none gave it anything,
    nothing is known about whom to trust.
    """
    total = 0.0
    for k in range(SHARES):
        total += trust[segment, k] * float(shares[k])
    if not total > 0.0:
        return
    for k in range(SHARES):
        part = trust[segment, k] * float(shares[k]) / total
        trust[segment, k] += rate * (part + LEAST_TRUST - trust[segment, k] * (1.0 + SHARES * LEAST_TRUST))
