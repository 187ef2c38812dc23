"""The named numbers of a request or a flight, and how they enter the model: scaled, and 0 where they are not given.

A feature that the batch job saw has a scale from there. One that comes without a past is watched for its first
requests; until then it counts nothing.
"""

import numpy as np
from numba import njit

from online.arithmetic import log
from online.pricing.layout import (
    FEATURE_CLIP,
    FEATURES_MAX,
    FREE,
    LINEAR,
    LOGARITHM,
    WATCH_REQUESTS,
    WATCHED,
    FeatureArrays,
    Pricing,
)
from online.tables import Array

LOGARITHM_ABOVE = 20.0  # a positive feature that reaches beyond is a fare or a count: its ratios matter


@njit(cache=True)
def find_feature(features: FeatureArrays, key: np.uint64) -> int:
    """Its place, or -1."""
    for j in range(FEATURES_MAX):
        if features.key[j] == key:
            return j
    return -1


@njit(cache=True)
def add_feature(features: FeatureArrays, key: np.uint64) -> int:
    """Its place; a new one is watched first. -1 where all places are taken."""
    j = find_feature(features, key)
    if j >= 0:
        return j
    for j in range(FEATURES_MAX):
        if features.kind[j] == FREE:
            features.key[j] = key
            features.kind[j] = WATCHED
            return j
    return -1


@njit(cache=True)
def overlay(p: Pricing, flight: int, given: Array) -> None:
    """What is known of a request, into scratch.raw: its own features, else its flight's."""
    for j in range(FEATURES_MAX):
        value = np.float64(given[j])
        p.scratch.raw[j] = value if value == value else p.flights.feature[flight, j]


@njit(cache=True)
def scaled(features: FeatureArrays, j: int, value: float, reference_cents: float) -> float:
    """A feature as the model takes it: about 0, about 1 wide; 0 where it is not given or has no scale yet."""
    kind = features.kind[j]
    if kind <= WATCHED or value != value:
        return 0.0
    if kind == LOGARITHM:
        if value <= 0.0 or reference_cents <= 0.0:
            return 0.0
        value = log(value / reference_cents)
    z = (value - features.shift[j]) / features.scale[j]
    result: float = min(max(z, -FEATURE_CLIP), FEATURE_CLIP)
    return result


@njit(cache=True)
def watch(p: Pricing, market: int) -> None:
    """Look at the request in scratch.raw; give a scale to a feature that was seen often enough and varies."""
    reference = p.markets.reference_cents[market]
    for j in range(FEATURES_MAX):
        value = p.scratch.raw[j]
        if p.features.kind[j] != WATCHED or value != value or value - value != 0.0:
            continue
        seen = p.features.watched[j]
        if seen[0] == 0.0 or value < seen[5]:
            seen[5] = value
        if seen[0] == 0.0 or value > seen[6]:
            seen[6] = value
        seen[0] += 1.0
        apart = value - seen[1]
        seen[1] += apart / seen[0]
        seen[2] += apart * (value - seen[1])
        if seen[5] > 0.0 and reference > 0.0:
            ratio = log(value / reference)
            apart = ratio - seen[3]
            seen[3] += apart / seen[0]
            seen[4] += apart * (ratio - seen[3])
        if seen[0] >= WATCH_REQUESTS and seen[6] > seen[5]:
            if seen[5] > 0.0 and seen[6] > LOGARITHM_ABOVE:
                p.features.kind[j] = LOGARITHM
                p.features.shift[j] = seen[3]
                p.features.scale[j] = max(np.sqrt(seen[4] / seen[0]), 1e-3)
            else:
                p.features.kind[j] = LINEAR
                p.features.shift[j] = seen[1]
                p.features.scale[j] = max(np.sqrt(seen[2] / seen[0]), 1e-9)
