"""Mixing: one weight per feature, shared by all, plus what the user's situation and the moment's context add to it.

score(item) = sum of weight * feature; the weights follow the gradient of the softmax over the taken item and its
hardest rivals, scaled by AdaGrad (Duchi et al., JMLR 2011). What a segment adds is pulled back towards zero each time
it moves, so a segment that has seen little speaks with the shared weights.
"""

import numpy as np
from numba import njit

from online.recommendation.layout import (
    CONTEXT_FEATURES,
    F_AROUND,
    F_CONTEXT,
    F_CONTEXT_SITUATION,
    F_ITEM,
    F_NEXT_FAST,
    F_NEXT_SLOW,
    F_RESPONSE,
    F_TASTE,
    FEATURES,
    RING,
    ContextArrays,
    MixingArrays,
    Scratch,
    UserArrays,
)

STEP_MAX = 0.1  # of one weight at one event
WEIGHT_MAX = 8.0
SHRINKAGE = 1e-3  # of a segment's own part, at each of its steps
FIRST_GRADIENT = 1.0  # AdaGrad's sum starts here: no first step is larger than the rate


def _first_weights() -> np.ndarray:
    """Shared weights before anything was learned: [FEATURES]."""
    weights = np.zeros(FEATURES)
    weights[:F_TASTE] = (0.15, 0.2, 0.15, 0.1, 0.05, 0.05)
    weights[F_TASTE] = 1.0
    weights[F_ITEM] = 1.0
    weights[F_RESPONSE] = 1.0
    weights[F_NEXT_FAST : F_NEXT_FAST + 3] = (0.2, 0.1, 0.05)
    weights[F_NEXT_SLOW : F_NEXT_SLOW + 3] = (0.1, 0.05, 0.05)
    weights[F_AROUND] = 0.2
    weights[F_CONTEXT : F_CONTEXT + CONTEXT_FEATURES] = 0.05
    weights[F_CONTEXT_SITUATION : F_CONTEXT_SITUATION + CONTEXT_FEATURES] = 0.05
    return weights


FIRST_WEIGHTS = _first_weights()  # what is learned is kept as a difference from these


@njit(cache=True)
def situation(users: UserArrays, user: int, at_ms: int, gap_ms: float) -> int:
    """0 nobody known, 1 a new session, else 2, 3, 4: this session's takes so far, one, two, more."""
    if user < 0 or users.taken[user] == 0:
        return 0
    taken = users.taken[user]
    later = at_ms
    inside = 0
    while inside < 3 and inside < min(taken, RING):
        before = users.ring_at_ms[user, (taken - 1 - inside) % RING]
        if later - before > gap_ms:
            break
        later = before
        inside += 1
    return 1 + inside


@njit(cache=True)
def set_weights(mixing: MixingArrays, contexts: ContextArrays, segment: int, scratch: Scratch) -> None:
    """The weights of this situation and context, into scratch.weight (float32)."""
    for f in range(FEATURES):
        scratch.weight_exact[f] = FIRST_WEIGHTS[f] + mixing.weight[0, f] + mixing.weight[1 + segment, f]
    for k in range(CONTEXT_FEATURES):
        row = scratch.context_rows[0, k]
        if row >= 0:
            for f in range(FEATURES):
                scratch.weight_exact[f] += contexts.weight[row, f]
    for f in range(FEATURES):
        scratch.weight[f] = scratch.weight_exact[f]


@njit(cache=True)
def _step(weight: float, gradient_sum: float, gradient: float, rate: float) -> float:
    step = rate * gradient / np.sqrt(FIRST_GRADIENT + gradient_sum)
    step = min(STEP_MAX, max(-STEP_MAX, step))
    return min(WEIGHT_MAX, max(-WEIGHT_MAX, weight - step))


@njit(cache=True)
def move_weights(
    mixing: MixingArrays, contexts: ContextArrays, segment: int, scratch: Scratch, gradient: np.ndarray, rate: float
) -> None:
    """One step against `gradient` [FEATURES] of the loss, for the shared weights and each segment's own part."""
    for f in range(FEATURES):
        g = gradient[f]
        if g == 0.0 or f == F_ITEM:
            continue
        mixing.gradient[0, f] += g * g
        mixing.weight[0, f] = _step(mixing.weight[0, f], mixing.gradient[0, f], g, rate)
        own = 1 + segment
        mixing.gradient[own, f] += g * g
        kept = mixing.weight[own, f] * (1.0 - SHRINKAGE)
        mixing.weight[own, f] = _step(kept, mixing.gradient[own, f], g, rate)
        for k in range(CONTEXT_FEATURES):
            row = scratch.context_rows[0, k]
            if row >= 0:
                contexts.gradient[row, f] += g * g
                kept = contexts.weight[row, f] * (1.0 - SHRINKAGE)
                contexts.weight[row, f] = _step(kept, contexts.gradient[row, f], g, rate)
