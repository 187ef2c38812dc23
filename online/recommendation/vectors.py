"""Products of vectors, in one order of additions for everybody."""

import numpy as np

from online.compiling import kernel
from online.recommendation.layout import DIMENSION

LANES = 16  # running sums: as many as a vector register or two hold


@kernel
def product(a: np.ndarray, row: int, b: np.ndarray, other: int, lanes: np.ndarray) -> np.float32:
    """a[row] . b[other], f4 [rows, DIMENSION] each, in LANES running sums that are added up as a tree.

    lanes: f4 [LANES], room to work in.
    """
    for l in range(LANES):
        lanes[l] = a[row, l] * b[other, l]
    for k in range(LANES, DIMENSION, LANES):
        for l in range(LANES):
            lanes[l] += a[row, k + l] * b[other, k + l]
    for l in range(8):
        lanes[l] += lanes[l + 8]
    for l in range(4):
        lanes[l] += lanes[l + 4]
    total: np.float32 = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
    return total
