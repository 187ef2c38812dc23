"""Contexts: a fixed directory of context values.

A value's key is the hash of "name=value" (`online.batch.context_keys`). Its row is one of the PROBES places that the
key points to; where all are taken, the one that was used longest ago gives way (the first among equals).
"""

from typing import Any

import numpy as np

from online.compiling import kernel
from online.recommendation.layout import CONTEXT_FEATURES, CONTEXT_PLACES, CONTEXT_ROWS, ContextArrays

PROBES = 8
EVERYTHING = np.uint64(1)  # the key of what is always there
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MASK = np.uint64(CONTEXT_ROWS - 1)


@kernel
def find_context(keys: np.ndarray, key: np.uint64) -> Any:
    """The row of a context, or -1."""
    for probe in range(PROBES):
        row = (key + np.uint64(probe)) & _MASK
        if keys[row] == key:
            return np.int64(row)
    return -1


@kernel
def found_or_new(contexts: ContextArrays, key: np.uint64, at_ms: int) -> Any:
    """The row of a context, its own from now on."""
    row = find_context(contexts.key, key)
    if row < 0:
        row = np.int64(key & _MASK)
        for probe in range(PROBES):
            other = np.int64((key + np.uint64(probe)) & _MASK)
            if contexts.key[other] == 0:
                row = other
                break
            if contexts.used_ms[other] < contexts.used_ms[row]:
                row = other
        contexts.key[row] = key
        contexts.item[row] = -1
        contexts.count[row] = 0.0
        contexts.total[row] = 0.0
        contexts.at_ms[row] = 0.0
        contexts.used_ms[row] = at_ms
    contexts.used_ms[row] = max(contexts.used_ms[row], at_ms)
    return row


@kernel
def key_at(keys: np.ndarray, place: int) -> Any:
    """The key of one of CONTEXT_PLACES, 0 is none: the values by themselves, EVERYTHING, and all values as one."""
    if place < CONTEXT_FEATURES:
        return keys[place]
    if place == CONTEXT_FEATURES:
        return EVERYTHING
    whole = np.uint64(0)
    values = 0
    for k in range(CONTEXT_FEATURES):
        if keys[k] != 0:
            whole = (whole ^ keys[k]) * _SPREAD
            values += 1
    return whole if values > 1 else np.uint64(0)


@kernel
def context_rows(directory: np.ndarray, keys: np.ndarray, rows: np.ndarray) -> None:
    """rows [CONTEXT_PLACES] of a moment's contexts; -1 is none.

    directory: u8 [CONTEXT_ROWS], the keys of all rows; keys: u8 [CONTEXT_FEATURES], 0 is none.
    """
    for k in range(CONTEXT_PLACES):
        key = key_at(keys, k)
        rows[k] = find_context(directory, key) if key != 0 else -1
