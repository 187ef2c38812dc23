"""Bookings as columns: the one reader of what an airline's past looks like on disk.

A file of bookings is CSV or Parquet, a row per request that was quoted: `flight_id, market, departs_at, asked_at,
fare_cents, booked, seats_left, capacity`, and numbers named `feature_*`. A request that nothing could be sold to has an
empty fare. The law of this file: a row is either read exactly, or the file is refused by name, line and column.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from online.csv_lines import line_of_csv_row
from online.interactions import parse_time_ms

REQUIRED = ("flight_id", "market", "departs_at", "asked_at", "fare_cents", "booked", "seats_left", "capacity")
FEATURE_PREFIX = "feature_"
TIME_CURE = "Write Unix seconds, Unix milliseconds or RFC 3339 (2026-01-31T09:30:00Z)."


class BookingsMalformed(Exception):
    """A file of bookings that cannot be read exactly. Names the file, the line, the column, and the cure."""

    def __init__(self, path: Path, *, line: int, column: str, problem: str, cure: str) -> None:
        super().__init__(f"{path}: line {line}, column {column}: {problem}. {cure}")
        self.path, self.line, self.column, self.problem, self.cure = path, line, column, problem, cure


@dataclass(frozen=True, kw_only=True, slots=True)
class Bookings:
    """Columns of n requests, sorted by the time they were asked at; equal times keep the order of the file.

    flight, market: int64 [n] codes into flight_ids, market_ids (of first appearance in time); departs_ms, asked_ms:
    int64 [n]; fare_cents: float64 [n], NaN = nothing was for sale; booked: float64 [n], 0 or 1; seats_left, capacity:
    int64 [n], see seats_after; features: float64 [n, f], NaN = not given, named by feature_names.
    """

    flight: np.ndarray
    market: np.ndarray
    departs_ms: np.ndarray
    asked_ms: np.ndarray
    fare_cents: np.ndarray
    booked: np.ndarray
    seats_left: np.ndarray
    capacity: np.ndarray
    features: np.ndarray
    flight_ids: list[str]
    market_ids: list[str]
    feature_names: list[str]

    def __len__(self) -> int:
        return len(self.flight)

    @property
    def days(self) -> np.ndarray:
        """Days before departure, float64 [n]."""
        return np.maximum(self.departs_ms - self.asked_ms, 0) / 86_400_000.0

    @property
    def quoted(self) -> np.ndarray:
        """Rows that say whether somebody bought at a fare, bool [n]."""
        return np.isfinite(self.fare_cents) & ((self.seats_left > 0) | (self.booked > 0))

    @property
    def seats_after(self) -> np.ndarray:
        """Seats left when a request was settled, int64 [n].

        Logs write `seats_left` before the request's own booking or after it; which of both, a request that follows a
        booking and books nothing tells.
        """
        order = np.lexsort((np.arange(len(self)), self.flight))
        flight, seats, booked = self.flight[order], self.seats_left[order], self.booked[order] > 0.0
        told = (flight[1:] == flight[:-1]) & booked[:-1] & ~booked[1:]
        same = int((told & (seats[1:] == seats[:-1])).sum())
        one_less = int((told & (seats[1:] == seats[:-1] - 1)).sum())
        return self.seats_left if same > one_less else self.seats_left - self.booked.astype(np.int64)

    def taken(self, rows: np.ndarray) -> Bookings:
        """Some of the rows; ids keep their codes."""
        columns = ("flight", "market", "departs_ms", "asked_ms", "fare_cents", "booked", "seats_left", "capacity")
        return Bookings(
            **{name: getattr(self, name)[rows] for name in columns},
            features=self.features[rows],
            flight_ids=self.flight_ids,
            market_ids=self.market_ids,
            feature_names=self.feature_names,
        )


def no_bookings(feature_names: list[str] | None = None) -> Bookings:
    """A past without rows."""
    whole, real = np.zeros(0, np.int64), np.zeros(0)
    names = feature_names or []
    return Bookings(
        flight=whole,
        market=whole,
        departs_ms=whole,
        asked_ms=whole,
        fare_cents=real,
        booked=real,
        seats_left=whole,
        capacity=whole,
        features=np.zeros((0, len(names))),
        flight_ids=[],
        market_ids=[],
        feature_names=names,
    )


def read_bookings(path: Path, *, until_ms: int | None = None) -> Bookings:
    """Read a file of bookings. Requests at or after until_ms (Unix milliseconds) are left out.

    An empty file, or one with a header alone, is a past without rows. Columns that are neither required nor `feature_*`
    are ignored. Raises BookingsMalformed (file, line, column, problem, cure) and FileNotFoundError.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file of bookings")
    parquet = path.suffix.lower() in (".parquet", ".pq")
    if not parquet and not path.read_bytes().strip():
        return no_bookings()
    table = _read_parquet(path) if parquet else _read_csv(path)
    for name in REQUIRED:
        if name not in table.column_names:
            raise BookingsMalformed(
                path,
                line=1,
                column=name,
                problem="the column is missing",
                cure=f"Needed are {', '.join(REQUIRED)}; found {', '.join(table.column_names)}.",
            )
    names = sorted(n for n in table.column_names if n.startswith(FEATURE_PREFIX))
    short = [n.removeprefix(FEATURE_PREFIX) for n in names]
    if table.num_rows == 0:
        return no_bookings(short)
    columns = _Columns(path, table, parquet=parquet)
    asked_ms, departs_ms = columns.times("asked_at"), columns.times("departs_at")
    columns.refuse_first(asked_ms > departs_ms, "asked_at", "asked after departure", "Correct or drop the row.")
    fare = columns.numbers("fare_cents")
    columns.refuse_first(fare <= 0.0, "fare_cents", "not a positive fare", "Write cents, or nothing where sold out.")
    booked = columns.numbers("booked")
    columns.refuse_first((booked != 0.0) & (booked != 1.0), "booked", "neither 0 nor 1", "Write 0 or 1.")
    unpriced = (booked == 1.0) & np.isnan(fare)
    columns.refuse_first(unpriced, "fare_cents", "booked without a fare", "Write the fare that was paid.")
    capacity, seats_left = columns.counts("capacity"), columns.counts("seats_left")
    columns.refuse_first(seats_left > capacity, "seats_left", "more seats than the capacity", "Correct the row.")
    order = np.argsort(asked_ms, kind="stable")
    if until_ms is not None:
        order = order[: int(np.searchsorted(asked_ms[order], until_ms, side="left"))]
    flight, flight_ids = columns.codes("flight_id", order)
    market, market_ids = columns.codes("market", order)
    features = np.stack([columns.numbers(n) for n in names], axis=1) if names else np.zeros((table.num_rows, 0))
    return Bookings(
        flight=flight,
        market=market,
        departs_ms=departs_ms[order],
        asked_ms=asked_ms[order],
        fare_cents=fare[order],
        booked=booked[order],
        seats_left=seats_left[order],
        capacity=capacity[order],
        features=features[order],
        flight_ids=flight_ids,
        market_ids=market_ids,
        feature_names=short,
    )


class _Columns:
    """Typed access to a table whose errors know the line they stand on."""

    def __init__(self, path: Path, table: pa.Table, *, parquet: bool) -> None:
        self.path, self.table, self.parquet = path, table, parquet

    def refuse_first(self, bad: np.ndarray, column: str, problem: str, cure: str) -> None:
        """Raises BookingsMalformed at the first True of bad [n], quoting the value that stands there."""
        if bad.any():
            row = int(np.argmax(bad))
            text = repr(self.table.column(column)[row].as_py())
            line = row + 1 if self.parquet else line_of_csv_row(self.path, row)
            found = text if len(text) <= 60 else text[:57] + "..."
            raise BookingsMalformed(self.path, line=line, column=column, problem=f"{problem}: {found}", cure=cure)

    def codes(self, column: str, order: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Codes of a column of ids taken in this order: int64 [len(order)], and the ids."""
        array = self.table.column(column).cast(pa.string())
        missing = pc.or_kleene(pc.is_null(array), pc.equal(pc.fill_null(array, ""), ""))
        self.refuse_first(_numpy(missing), column, "a value is missing", "Fill or drop the row.")
        encoded = pc.dictionary_encode(array.take(pa.array(order)).combine_chunks())
        return _numpy(encoded.indices).astype(np.int64), encoded.dictionary.to_pylist()

    def numbers(self, column: str) -> np.ndarray:
        """A column as float64 [n], NaN where it is empty. Infinities are refused."""
        array = self.table.column(column)
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            array = pc.utf8_trim_whitespace(array)
            number = r"^([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?)?$"
            self.refuse_first(
                ~_numpy(pc.fill_null(pc.match_substring_regex(array, number), True)),
                column,
                "not a number",
                "Write a number or nothing.",
            )
            array = pc.if_else(pc.equal(array, ""), pa.scalar(None, array.type), array)
        values = np.asarray(array.cast(pa.float64()).to_numpy(), dtype=np.float64)
        self.refuse_first(np.isinf(values), column, "not a finite number", "Write a finite number or nothing.")
        return values

    def counts(self, column: str) -> np.ndarray:
        """A column of whole numbers >= 0, int64 [n]."""
        values = self.numbers(column)
        whole = np.isfinite(values) & (values >= 0.0) & (values == np.floor(values))
        self.refuse_first(~whole, column, "not a whole number of seats", "Write 0, 1, 2, ...")
        return values.astype(np.int64)

    def times(self, column: str) -> np.ndarray:
        """A column of times as Unix milliseconds, int64 [n]."""
        array = self.table.column(column)
        self.refuse_first(_numpy(pc.is_null(array)), column, "a value is missing", TIME_CURE)
        if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
            return np.asarray(array.cast(pa.timestamp("ms")).to_numpy()).astype("datetime64[ms]").astype(np.int64)
        distinct = pc.unique(array)
        times = {}
        for value in distinct.to_pylist():
            try:
                times[value] = parse_time_ms(str(value).strip())
            except ValueError:
                row = int(np.argmax(_numpy(pc.equal(array, pa.scalar(value, array.type)))))
                bad = np.zeros(len(array), bool)
                bad[row] = True
                self.refuse_first(bad, column, "not a time", TIME_CURE)
        codes = _numpy(pc.index_in(array, distinct))
        return np.array([times[v] for v in distinct.to_pylist()], np.int64)[codes]


def _read_parquet(path: Path) -> pa.Table:
    try:
        return pa_parquet.read_table(path)
    except pa.ArrowInvalid as error:
        problem = f"not a Parquet file ({str(error).splitlines()[0]})"
        raise BookingsMalformed(path, line=1, column="-", problem=problem, cure="Write it again.") from error


def _read_csv(path: Path) -> pa.Table:
    """Every column as text: what a value means is decided here, where its line is still known."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        names, rows = next(reader, []), 0
        for row in reader:
            rows += bool(row)
            if row and len(row) != len(names):
                raise BookingsMalformed(
                    path,
                    line=reader.line_num,
                    column=names[min(len(row), len(names) - 1)],
                    problem=f"{len(row)} fields, {len(names)} expected",
                    cure="Quote fields that hold commas.",
                )
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise BookingsMalformed(path, line=1, column=twice, problem="the column stands twice", cure="Rename one.")
    if not rows:
        return pa.table({name: pa.array([], pa.string()) for name in names})
    try:
        return pa_csv.read_csv(
            path,
            convert_options=pa_csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        problem = str(error).splitlines()[0]
        cure = "Write UTF-8 CSV with a header."
        raise BookingsMalformed(path, line=1, column="-", problem=problem, cure=cure) from error


def _numpy(array: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False) if isinstance(array, pa.Array) else array.to_numpy())
