"""Where a row of a CSV stands in its file, for errors that people shall find."""

import csv
from pathlib import Path


def line_of_csv_row(path: Path, row: int) -> int:
    """The physical line on which data row `row` (from 0) of a CSV ends; read again, as only errors ask for it."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.reader(file)
        rows = (r for r in reader if r)
        for _ in range(row + 2):
            next(rows)
        return reader.line_num
