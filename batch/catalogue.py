"""A catalogue file: items that exist, whether or not somebody took them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from online.interactions import InteractionsMalformed

NAMES = ("item_id", "title")  # say which item it is, and not what kind of item


def read_catalogue(path: Path | None) -> dict[str, dict[str, str]]:
    """The items of a CSV or Parquet file, by `item_id`, in the order of the file, each with its text columns that are
    not empty: what describes it, by name. No path, no items.

    Raises FileNotFoundError, and InteractionsMalformed where the column is missing or holds an empty id.
    """
    if path is None:
        return {}
    path = Path(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        table = pa_parquet.read_table(path)
    else:
        table = pa_csv.read_csv(path)
    if "item_id" not in table.column_names:
        raise InteractionsMalformed(
            path,
            line=1,
            column="item_id",
            problem="the column is missing",
            cure=f"Found {', '.join(table.column_names)}.",
        )
    ids = table.column("item_id").to_pylist()
    for row, item_id in enumerate(ids):
        if item_id is None or item_id == "":
            raise InteractionsMalformed(
                path, line=row + 2, column="item_id", problem="a value is missing", cure="Fill or drop the row."
            )
    features = {
        field.name: table.column(field.name).to_pylist()
        for field in table.schema
        if pa.types.is_string(field.type) and field.name not in NAMES
    }
    return {
        str(item_id): {name: values[row] for name, values in features.items() if values[row]}
        for row, item_id in enumerate(ids)
    }
