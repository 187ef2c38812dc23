"""Mixing: one weight per feature, shared by all, plus what the user's situation and the moment's context add to it.

score(item) = sum of weight * feature; the weights follow the gradient of the softmax over the taken item and its
hardest rivals, scaled by AdaGrad (Duchi et al., JMLR 2011). What a segment adds is pulled back towards zero each time
it moves, so a segment that has seen little speaks with the shared weights.
"""

import numpy as np
from numba import njit

from online.recommendation.layout import (
    CONTEXT_FEATURES,
    CONTEXT_PLACES,
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
)

STEP_MAX = 0.1  # of one weight at one event
WEIGHT_MAX = 8.0
SHRINKAGE = 1e-5  # of a segment's own part, at each of its steps
FIRST_GRADIENT = 1.0  # AdaGrad's sum starts here: no first step is larger than the rate


def _first_weights() -> np.ndarray:
    """Shared weights before anything was learned: [FEATURES]."""
    weights = np.zeros(FEATURES)
    weights[:F_TASTE] = (0.15, 0.2, 0.15, 0.1, 0.05, 0.05)
    weights[F_TASTE] = 0.7
    weights[F_ITEM] = 1.0
    weights[F_RESPONSE] = 1.0
    weights[F_NEXT_FAST : F_NEXT_FAST + 3] = (0.3, 0.1, 0.05)
    weights[F_NEXT_SLOW : F_NEXT_SLOW + 3] = (0.1, 0.05, 0.05)
    weights[F_AROUND] = 0.2
    weights[F_CONTEXT : F_CONTEXT + CONTEXT_FEATURES] = 0.1
    weights[F_CONTEXT + CONTEXT_PLACES - 1] = 0.1
    weights[F_CONTEXT_SITUATION : F_CONTEXT_SITUATION + CONTEXT_PLACES] = 0.05
    return weights


FIRST_WEIGHTS = _first_weights()  # what is learned is kept as a difference from these


@njit(cache=True)
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


@njit(cache=True)
def set_weights(
    shared: np.ndarray,
    contextual: np.ndarray,
    rows: np.ndarray,
    segment: int,
    weight_exact: np.ndarray,
    weight: np.ndarray,
) -> None:
    """The weights of a situation and a context: weight_exact f8 [FEATURES], weight the same in f4.

    shared: f8 [1 + SEGMENTS, FEATURES], contextual: f8 [CONTEXT_ROWS, FEATURES]; rows: from `context_rows`.
    """
    for f in range(FEATURES):
        weight_exact[f] = FIRST_WEIGHTS[f] + shared[0, f] + shared[1 + segment, f]
    for k in range(CONTEXT_FEATURES):
        row = rows[0, k]
        if row >= 0:
            for f in range(FEATURES):
                weight_exact[f] += contextual[row, f]
    for f in range(FEATURES):
        weight[f] = weight_exact[f]


@njit(cache=True)
def _move(weights: np.ndarray, sums: np.ndarray, row: int, gradient: np.ndarray, rate: float, kept: float) -> None:
    for f in range(FEATURES):
        g = gradient[f]
        if g == 0.0 or f == F_ITEM:
            continue
        sums[row, f] += g * g
        step = rate * g / np.sqrt(FIRST_GRADIENT + sums[row, f])
        step = min(STEP_MAX, max(-STEP_MAX, step))
        weights[row, f] = min(WEIGHT_MAX, max(-WEIGHT_MAX, weights[row, f] * kept - step))


@njit(cache=True)
def move_weights(
    mixing: MixingArrays,
    contexts: ContextArrays,
    rows: np.ndarray,
    segment: int,
    gradient: np.ndarray,
    rate: float,
) -> None:
    """One step against `gradient` [FEATURES] of the loss, for the shared weights and each segment's own part.

    rows: from `context_rows`.
    """
    _move(mixing.weight, mixing.gradient, 0, gradient, rate, 1.0)
    _move(mixing.weight, mixing.gradient, 1 + segment, gradient, rate, 1.0 - SHRINKAGE)
    for k in range(CONTEXT_FEATURES):
        if rows[0, k] >= 0:
            _move(contexts.weight, contexts.gradient, rows[0, k], gradient, rate, 1.0 - SHRINKAGE)
