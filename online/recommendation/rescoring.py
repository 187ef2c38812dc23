"""Rescoring: a small network over the features of the few best items, learned online with everything else.

A sum of weighted features says the same about a share whatever the others are; what is taken next often depends on
their company: a fresh article that one region reads means something else when the session already has three clicks.
One hidden layer sees all features of an item together and adds a correction to its score. Leaky ReLU, float32, sums in
a fixed order. The inner weights are kept as differences from where they started (`FIRST_INNER`); the outer ones start
at zero, so that a network that has learned nothing says nothing.
"""

import numpy as np

from online.chance import hash64
from online.compiling import counting_kernel, kernel
from online.recommendation.layout import F_MIXTURE, F_TASTE, FEATURES, SEGMENTS, UNITS, MixingArrays, Scratch

MIXTURE_MIDDLE = np.float32(
    8.0
)  # where the mixture's feature stands for an item worth comparing: units see it less this
LEAK = np.float32(0.01)
FIRST_GRADIENT = np.float32(300.0)  # AdaGrad's sums start here: the first few events say little
LEAST_ERROR = 1e-4  # candidates with a smaller one teach the network nothing
_INPUTS = FEATURES + SEGMENTS
ZERO = np.float32(0.0)


def _drawn(name: str, rows: int, columns: int, size: float) -> np.ndarray:
    """Float32 [rows, columns], uniform in [-size, size), the same everywhere."""
    words = np.array(
        [[hash64(f"{name} {row} {column}") for column in range(columns)] for row in range(rows)], np.uint64
    )
    return ((words >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1.0).astype(np.float32) * np.float32(size)


FIRST_INNER = _drawn("inner", _INPUTS, UNITS, 0.35)


@kernel
def set_network(inner: np.ndarray, outer: np.ndarray, segment: int, scratch: Scratch) -> None:
    """The network as it stands in a situation, into scratch."""
    for f in range(FEATURES):
        for j in range(UNITS):
            # The taste stays outside: while the batch passes by it is silent, and would then be heard with weights that
            # nothing has taught.
            scratch.inner[f, j] = FIRST_INNER[f, j] + inner[f, j] if f != F_TASTE else ZERO
    for j in range(UNITS):
        scratch.start[j] = FIRST_INNER[FEATURES + segment, j] + inner[FEATURES + segment, j]
        scratch.start[j] -= MIXTURE_MIDDLE * scratch.inner[F_MIXTURE, j]
        scratch.outer[j] = outer[j]


@kernel
def correct(
    features: np.ndarray,
    inner: np.ndarray,
    start: np.ndarray,
    outer: np.ndarray,
    units: np.ndarray,
    count: int,
    scores: np.ndarray,
) -> None:
    """Add the network's corrections to scores[:count]. features: f4 [FEATURES, >= count]; units: f4 [UNITS, >= count],
    set."""
    for j in range(UNITS):
        unit, by = units[j], outer[j]
        for c in range(count):
            unit[c] = start[j]
        for f in range(FEATURES):
            w, feature = inner[f, j], features[f]
            for c in range(count):
                unit[c] += w * feature[c]
        for c in range(count):
            if unit[c] < ZERO:
                unit[c] *= LEAK
            scores[c] += by * unit[c]


@counting_kernel
def learn_network(
    mixing: MixingArrays, scratch: Scratch, errors: np.ndarray, count: int, segment: int, rate: float
) -> None:
    """One step of AdaGrad against the errors [count] of the candidates' scores, after `correct`."""
    step, features, units = scratch.inner_step, scratch.candidate_feature, scratch.units
    outer_step = np.zeros(UNITS, np.float32)
    start_step = np.zeros(UNITS, np.float32)
    back = np.empty(UNITS, np.float32)
    for f in range(FEATURES):
        for j in range(UNITS):
            step[f, j] = ZERO
    for c in range(count):
        if -LEAST_ERROR < errors[c] < LEAST_ERROR:
            continue
        error = np.float32(errors[c])
        for j in range(UNITS):
            outer_step[j] += error * units[j, c]
            back[j] = error * scratch.outer[j]
            if units[j, c] < ZERO:
                back[j] *= LEAK
            start_step[j] += back[j]
        for f in range(FEATURES):
            x = features[f, c]
            if x != ZERO:
                for j in range(UNITS):
                    step[f, j] += x * back[j]
    for j in range(UNITS):
        step[F_MIXTURE, j] -= MIXTURE_MIDDLE * start_step[j]
    by = np.float32(rate)
    _move(mixing.outer, mixing.outer_gradient, outer_step, by)
    for f in range(FEATURES):
        if f != F_TASTE:
            _move(mixing.inner[f], mixing.inner_gradient[f], step[f], by)
    _move(mixing.inner[FEATURES + segment], mixing.inner_gradient[FEATURES + segment], start_step, by)


@kernel
def _move(weights: np.ndarray, sums: np.ndarray, gradient: np.ndarray, rate: np.float32) -> None:
    for j in range(UNITS):
        g = gradient[j]
        sums[j] += g * g
        weights[j] -= rate * g / np.sqrt(FIRST_GRADIENT + sums[j])
