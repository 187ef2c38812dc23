"""Cells: the trained vectors in groups of near ones, so that a query looks into a few groups and not at every item.

k-means (Lloyd, 1982) in a fixed order, from the artifact alone: no part of the state, the same on every machine. A
query is compared with the centres; of the items in the cells that it points to most, the 8-bit codes are read. It is a
first look: which items are found is approximate, what they score is not.
"""

import numpy as np

from online.compiling import counting_kernel, kernel
from online.recommendation.layout import CELLS_MAX, DIMENSION
from online.recommendation.vectors import LANES, product
from online.tables import Arrays

ROUNDS = 4
SAMPLE_PER_CELL = 64
PROBES_MIN = 8
PROBED_SHARE = 8  # of the cells a query looks into one in so many, and into PROBES_MIN at least


def build_cells(vectors: np.ndarray) -> Arrays:
    """Columns of the cells over vectors: f4 [items, DIMENSION], rows of zeros left out."""
    rows = np.flatnonzero(np.abs(vectors).max(axis=1) > 0.0) if len(vectors) else np.zeros(0, np.int64)
    many = min(CELLS_MAX, max(1, int(np.sqrt(len(rows)))))
    # A stride that shares no factor with the number of rows visits them all, in an order that is none of the file's.
    sample = rows[(np.arange(min(len(rows), many * SAMPLE_PER_CELL)) * 7919) % max(1, len(rows))]
    centres = np.zeros((many, DIMENSION), np.float32)
    if len(rows):
        centres[:] = vectors[sample[:many]]
        cell = np.zeros(len(sample), np.int64)
        for _ in range(ROUNDS):
            nearest(vectors, sample, centres, cell)
            move_centres(vectors, sample, cell, centres)
    cell = np.zeros(len(rows), np.int64)
    nearest(vectors, rows, centres, cell)
    order = np.argsort(cell, kind="stable")
    return {
        "cells.centre": centres,
        "cells_start.start": np.searchsorted(cell[order], np.arange(many + 1)).astype(np.int32),
        "cells_rows.row": rows[order].astype(np.int32),
    }


@counting_kernel
def nearest(vectors: np.ndarray, rows: np.ndarray, centres: np.ndarray, cell: np.ndarray) -> None:
    """cell[k] = the centre nearest to vectors[rows[k]]; the lowest among equals."""
    half = np.empty(centres.shape[0], np.float32)
    lanes = np.empty(LANES, np.float32)
    for c in range(centres.shape[0]):
        half[c] = np.float32(0.5) * product(centres, c, centres, c, lanes)
    for k in range(rows.shape[0]):
        best, most = 0, np.float32(-3e38)
        for c in range(centres.shape[0]):
            near = product(vectors, rows[k], centres, c, lanes) - half[c]
            if near > most:
                best, most = c, near
        cell[k] = best


@counting_kernel
def move_centres(vectors: np.ndarray, rows: np.ndarray, cell: np.ndarray, centres: np.ndarray) -> None:
    """Each centre to the mean of its rows; one that has none stays."""
    many = centres.shape[0]
    sums = np.zeros((many, DIMENSION), np.float64)
    counts = np.zeros(many, np.int64)
    for k in range(rows.shape[0]):
        counts[cell[k]] += 1
        for d in range(DIMENSION):
            sums[cell[k], d] += vectors[rows[k], d]
    for c in range(many):
        if counts[c] > 0:
            for d in range(DIMENSION):
                centres[c, d] = sums[c, d] / counts[c]


@kernel
def probed(
    centres: np.ndarray, query: np.ndarray, user: int, lanes: np.ndarray, near: np.ndarray, order: np.ndarray
) -> int:
    """order: the cells that query[user] points to most, best first; how many. lanes: f4 [LANES], near: f4 [cells] and
    order: i4 [cells], room to work in."""
    many = centres.shape[0]
    wanted = min(many, max(PROBES_MIN, many // PROBED_SHARE))
    held = 0
    for c in range(many):
        value = product(query, user, centres, c, lanes)
        if held == wanted and not value > near[order[held - 1]]:
            continue
        near[c] = value
        at = held if held < wanted else wanted - 1
        while at > 0 and near[order[at - 1]] < value:
            order[at] = order[at - 1]
            at -= 1
        order[at] = c
        if held < wanted:
            held += 1
    return held
