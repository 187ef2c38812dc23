"""8-bit codes of the items' vectors: what a first look at all of them reads, a quarter of the bytes.

A code is the vector in steps of its largest part / 127, rounded to the nearest. The product of two codes is a sum of
integers, which is exact in any order, so the compiler may use the widest instructions that a machine has.
"""

import numpy as np

from online.compiling import kernel
from online.recommendation.layout import DIMENSION

ZERO = np.float32(0.0)
STEPS = np.float32(127.0)
HALF = np.float32(0.5)
LEAST = np.float32(1e-30)  # of a vector's largest part: below it the vector says nothing


@kernel
def encode(vectors: np.ndarray, row: int, codes: np.ndarray, steps: np.ndarray, to: int) -> None:
    """codes[to] i1 [DIMENSION] and steps[to] f4 of vectors[row] f4 [DIMENSION]; one of zeros has the code of zeros."""
    largest = ZERO
    for k in range(DIMENSION):
        largest = max(largest, abs(vectors[row, k]))
    if not largest > LEAST:
        steps[to] = ZERO
        for k in range(DIMENSION):
            codes[to, k] = 0
        return
    steps[to] = largest / STEPS
    by = STEPS / largest
    for k in range(DIMENSION):
        codes[to, k] = np.int8(np.floor(vectors[row, k] * by + HALF))


@kernel
def encode_all(vectors: np.ndarray, codes: np.ndarray, steps: np.ndarray, count: int) -> None:
    """Codes and steps of vectors[:count]."""
    for row in range(count):
        encode(vectors, row, codes, steps, row)


@kernel
def agreement(query: np.ndarray, code: np.ndarray, row: int) -> np.int32:
    """query . code[row], i1 [DIMENSION] and [rows, DIMENSION]: times both steps it is nearly their vectors' product."""
    total = np.int32(0)
    for k in range(DIMENSION):
        total += np.int32(query[k]) * np.int32(code[row, k])
    return total
