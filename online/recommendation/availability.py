"""What may be shown: items that are there, for sale at the moment, and not excluded."""

from typing import Any, NamedTuple

import numpy as np

from online.compiling import kernel
from online.recommendation.catalogue import Catalogue
from online.recommendation.layout import ItemArrays


class Open(NamedTuple):
    """Which rows may be shown. Excluded are those that hold `stamp`."""

    catalogue: Catalogue
    key: Any  # u8 [rows] of the live items; 0 is none
    scored_key: Any  # u8 [rows] of the items that the learners know in these rows
    stamps: Any  # i8 [rows]


@kernel
def keep_open(rows: Open, listed: np.ndarray, size: int, count: int, at_ms: int, stamp: int) -> int:
    """Of listed[:size] keep the rows below `count` that are there, for sale at `at_ms`, and not excluded, in their
    order; how many. stamp: -1 where nothing is excluded."""
    stamps, key, scored_key = rows.stamps, rows.key, rows.scored_key
    since, until = rows.catalogue.available_from_ms, rows.catalogue.available_until_ms
    kept = 0
    for k in range(size):
        row = listed[k]
        if row < 0 or row >= count or key[row] == 0 or key[row] != scored_key[row]:
            continue
        if stamp >= 0 and stamps[row] == stamp:
            continue
        if since[row] <= at_ms and at_ms < until[row]:
            listed[kept] = row
            kept += 1
    return kept


@kernel
def keep_known(rows: Open, items: ItemArrays, listed: np.ndarray, size: int) -> int:
    """Of listed[:size] keep the rows that somebody described or took, or that training has seen; how many.

    Any other has its row from a slate alone: a client had named it, or what was known of it has been cut out of the
    past. Nothing speaks for it; it is not offered to those who do not ask for it.
    """
    described, since_ms, code_step = rows.catalogue.about_length, items.since_ms, items.code_step
    kept = 0
    for k in range(size):
        row = listed[k]
        if described[row] > 0 or since_ms[row] > 0.0 or code_step[row] > 0.0:
            listed[kept] = row
            kept += 1
    return kept
