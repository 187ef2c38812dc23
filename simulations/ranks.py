"""Ranks of single events on the disk, so that others can be held against them event by event.

A row per scored event, in the order of the stream: `row` (counted from the stream's first), `user_id`, `item_id`,
`timestamp` (ms), and for each variant the rank that the taken item had; 0 is a miss.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from online.interactions import Interactions
from simulations.ranking import NOT_SCORED

KEYS = ("row", "user_id", "item_id", "timestamp")


def write_ranks(path: Path, source: Interactions, first: int, ranks: dict[str, np.ndarray]) -> None:
    """source: in groups; ranks: i8 [stream] by variant, NOT_SCORED where there is none."""
    scored = np.zeros(len(source) - first, np.bool_)
    for rank in ranks.values():
        scored |= rank != NOT_SCORED
    row = np.flatnonzero(scored)
    columns = {
        "row": pa.array(row),
        "user_id": pa.array(source.user_ids).take(pa.array(source.user[first + row])),
        "item_id": pa.array(source.item_ids).take(pa.array(source.item[first + row])),
        "timestamp": pa.array(source.at_ms[first + row]),
        **{name: pa.array(rank[row].astype(np.int32)) for name, rank in ranks.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pa_parquet.write_table(pa.table(columns), path)


def read_ranks(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """-> rows of the stream, ranks of those by variant"""
    table = pa_parquet.read_table(path)
    names = [name for name in table.column_names if name not in KEYS]
    return table["row"].to_numpy(), {name: table[name].to_numpy().astype(np.int64) for name in names}
