"""Interactions as columns: the one reader of what a shop's past looks like on disk.

A file of interactions is CSV or Parquet with `user_id, item_id, timestamp`, optional `event_type, value,
session_id`, and columns named `context_*`. The text form of the sequential-recommendation literature
(`.txt`, each line `user item item ...` in order) is read too, with the position as the time.
The law of this file: a row is either read exactly, or the file is refused by name, line and column.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from online.csv_lines import line_of_csv_row

REQUIRED = ("user_id", "item_id", "timestamp")
OPTIONAL = ("event_type", "value", "session_id")
CONTEXT_PREFIX = "context_"
DEFAULT_EVENT_TYPE = "interaction"
# 1e11 ms is March 1973 and 1e11 s is the year 5138: no real file lies between, so size tells the unit.
FIRST_MILLISECOND_STAMP = 100_000_000_000
LATEST_MS = 253_402_300_800_000  # the year 10000
MAX_ID_BYTES = 1024


class InteractionsMalformed(Exception):
    """A file of interactions that cannot be read exactly. Names the file, the line, the column, and the cure."""

    def __init__(self, path: Path, *, line: int, column: str, problem: str, cure: str) -> None:
        super().__init__(f"{path}: line {line}, column {column}: {problem}. {cure}")
        self.path = path
        self.line = line
        self.column = column
        self.problem = problem
        self.cure = cure


@dataclass(frozen=True, kw_only=True, slots=True)
class Interactions:
    """Columns of n interactions, sorted by time; inside equal times the order of the file is kept.

    user, item, session: int64 [n] codes into user_ids, item_ids, session_ids; at_ms: int64 [n]; value:
    float64 [n], NaN = none; event_type: int8 [n] into event_types; context: int32 [n] each, into
    context_values. Codes are given in the order of first appearance in time. A missing context or session is
    the value "".
    """

    user: np.ndarray
    item: np.ndarray
    at_ms: np.ndarray
    value: np.ndarray
    event_type: np.ndarray
    session: np.ndarray | None
    context: dict[str, np.ndarray]
    user_ids: list[str]
    item_ids: list[str]
    event_types: list[str]
    session_ids: list[str]
    context_values: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.user)


def read_interactions(path: Path, *, until_ms: int | None = None) -> Interactions:
    """Read a file of interactions. Rows at or after until_ms (Unix milliseconds) are left out.

    Columns that are neither required, optional nor `context_*` are ignored.
    Raises InteractionsMalformed (file, line, column, problem, cure) and FileNotFoundError.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file of interactions")
    match path.suffix.lower():
        case ".txt":
            table, locate = _read_sequences(path), _line_of_row
        case ".parquet" | ".pq":
            table, locate = _read_parquet(path), _line_of_row
        case _:
            table, locate = _read_csv(path), line_of_csv_row
    for name in REQUIRED:
        if name not in table.column_names:
            raise InteractionsMalformed(
                path,
                line=1,
                column=name,
                problem="the column is missing",
                cure=f"Needed are {', '.join(REQUIRED)}; found {', '.join(table.column_names)}.",
            )
    if table.num_rows == 0:
        raise InteractionsMalformed(
            path,
            line=1,
            column="user_id",
            problem="the file holds no rows",
            cure="Give at least one interaction.",
        )
    columns = _Columns(path, table, locate)
    at_ms = columns.times()
    order = np.argsort(at_ms, kind="stable")
    if until_ms is not None:
        order = order[: int(np.searchsorted(at_ms[order], until_ms, side="left"))]
    user, user_ids = columns.codes("user_id", order, required=True)
    item, item_ids = columns.codes("item_id", order, required=True)
    event_type, event_types = np.zeros(len(order), np.int64), [DEFAULT_EVENT_TYPE]
    if "event_type" in table.column_names:
        event_type, event_types = columns.codes("event_type", order, required=True)
    if len(event_types) > 127:
        raise InteractionsMalformed(
            path,
            line=1,
            column="event_type",
            problem=f"{len(event_types)} different event types",
            cure="At most 127 are supported.",
        )
    session: np.ndarray | None = None
    session_ids: list[str] = []
    if "session_id" in table.column_names:
        session, session_ids = columns.codes("session_id", order, required=False)
    context: dict[str, np.ndarray] = {}
    context_values: dict[str, list[str]] = {}
    for name in sorted(n for n in table.column_names if n.startswith(CONTEXT_PREFIX)):
        codes, context_values[name] = columns.codes(name, order, required=False)
        context[name] = codes.astype(np.int32)
    return Interactions(
        user=user,
        item=item,
        at_ms=at_ms[order],
        value=columns.values()[order],
        event_type=event_type.astype(np.int8),
        session=session,
        context=context,
        user_ids=user_ids,
        item_ids=item_ids,
        event_types=event_types,
        session_ids=session_ids,
        context_values=context_values,
    )


def parse_time_ms(text: str) -> int:
    """Unix seconds, Unix milliseconds or RFC 3339 (UTC where no zone is given) -> Unix milliseconds.

    >>> parse_time_ms("2017-10-09T00:00:00Z"), parse_time_ms("1507507200"), parse_time_ms("2017-10-09")
    (1507507200000, 1507507200000, 1507507200000)

    Raises ValueError.
    """
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        number = float(text)
        return round(number) if number >= FIRST_MILLISECOND_STAMP else round(number * 1000)
    from datetime import UTC, datetime

    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


class _Columns:
    """Typed access to a table whose errors know the line they stand on."""

    def __init__(self, path: Path, table: Any, locate: Any) -> None:
        self.path, self.table, self.locate = path, table, locate

    def malformed(self, row: int, column: str, problem: str, cure: str) -> InteractionsMalformed:
        return InteractionsMalformed(
            self.path, line=self.locate(self.path, row), column=column, problem=problem, cure=cure
        )

    def refuse_first(self, bad: np.ndarray, column: str, problem: str, cure: str) -> None:
        """Raises InteractionsMalformed at the first True of bad [n], quoting the value that stands there."""
        if bad.any():
            row = int(np.argmax(bad))
            found = self.table.column(column)[row].as_py()
            raise self.malformed(row, column, f"{problem}: {_quoted(found)}", cure)

    def codes(self, column: str, order: np.ndarray, *, required: bool) -> tuple[np.ndarray, list[str]]:
        """Dictionary codes of a column of ids taken in this order: int64 [len(order)], and the ids."""
        array = self.table.column(column)
        if pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        if pa.types.is_floating(array.type):
            raise self.malformed(
                0, column, f"ids of type {array.type}", "Store ids as integers or strings, without gaps."
            )
        if required:
            missing = pc.is_null(array)
            if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
                missing = pc.or_kleene(missing, pc.equal(array, ""))
            self.refuse_first(_numpy(missing.combine_chunks()), column, "a value is missing", "Fill or drop the row.")
        taken = array.take(pa.array(order)).combine_chunks()
        encoded = pc.dictionary_encode(taken, null_encoding="encode")
        ids = ["" if v is None else _as_text(v) for v in encoded.dictionary.to_pylist()]
        codes = _numpy(encoded.indices).astype(np.int64)
        longest = max((len(i.encode()) for i in ids), default=0)
        if longest > MAX_ID_BYTES:
            code = next(c for c, i in enumerate(ids) if len(i.encode()) > MAX_ID_BYTES)
            row = int(order[int(np.argmax(codes == code))])
            raise self.malformed(
                row, column, f"a value of {longest} bytes", f"At most {MAX_ID_BYTES} bytes are supported."
            )
        return codes, ids

    def numbers(self, column: str) -> np.ndarray:
        """A column as float64 [n], NaN where it is empty."""
        array = self.table.column(column)
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            array = pc.if_else(pc.equal(array, ""), pa.scalar(None, array.type), array)
            try:
                array = array.cast(pa.float64())
            except pa.ArrowInvalid:
                number = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
                matches = pc.fill_null(pc.match_substring_regex(array, number), True)
                self.refuse_first(
                    ~_numpy(matches.combine_chunks()), column, "not a number", "Write a number or nothing."
                )
                raise
        else:
            array = array.cast(pa.float64())
        return np.asarray(array.to_numpy(), dtype=np.float64)

    def values(self) -> np.ndarray:
        if "value" not in self.table.column_names:
            return np.full(self.table.num_rows, np.nan)
        values = self.numbers("value")
        self.refuse_first(np.isinf(values), "value", "not a finite number", "Write a finite number or nothing.")
        return values

    def times(self) -> np.ndarray:
        """The timestamps as Unix milliseconds, int64 [n]."""
        array = self.table.column("timestamp")
        cure = "Write Unix seconds, Unix milliseconds or RFC 3339 (2017-10-09T00:00:00Z)."
        self.refuse_first(_numpy(pc.is_null(array).combine_chunks()), "timestamp", "a value is missing", cure)
        if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
            return np.asarray(array.cast(pa.timestamp("ns")).to_numpy()).astype("datetime64[ms]").astype(np.int64)
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            numeric = _numpy(pc.match_substring_regex(array, r"^\s*-?\d+(\.\d+)?\s*$").combine_chunks())
            if not numeric.all():
                return self.written_times(array, numeric, cure)
            array = pc.utf8_trim_whitespace(array).cast(pa.float64())
        # float64 holds every millisecond up to the year 287396 exactly.
        stamps = np.asarray(array.cast(pa.float64()).to_numpy(), dtype=np.float64)
        self.refuse_first(~np.isfinite(stamps), "timestamp", "not a time", cure)
        in_ms = stamps >= FIRST_MILLISECOND_STAMP
        if in_ms.any() and not in_ms.all():
            rarer = in_ms if in_ms.sum() * 2 <= len(in_ms) else ~in_ms
            self.refuse_first(rarer, "timestamp", "seconds and milliseconds are mixed in one file", "Use one unit.")
        milliseconds = np.round(stamps if in_ms.all() else stamps * 1000.0)
        self.refuse_first(np.abs(milliseconds) >= LATEST_MS, "timestamp", "a time beyond the year 9999", cure)
        return milliseconds.astype(np.int64)

    def written_times(self, array: Any, numeric: np.ndarray, cure: str) -> np.ndarray:
        """RFC 3339 strings -> Unix milliseconds, int64 [n]. A time without a zone is UTC."""
        if numeric.any() and not numeric.all():
            odd = numeric if numeric.sum() * 2 < len(numeric) else ~numeric
            self.refuse_first(odd, "timestamp", "not written as the other times of this file are", cure)
        dated = pc.match_substring_regex(array, r"^\s*\d{4}-\d\d-\d\d\s*$")
        timed = pc.if_else(dated, pc.binary_join_element_wise(array, "T00:00:00", ""), array)
        zoned = pc.match_substring_regex(timed, r"(Z|z|:\d\d(\.\d+)?[+-]\d\d:?\d\d)\s*$")
        whole = pc.if_else(zoned, timed, pc.binary_join_element_wise(timed, "Z", ""))
        try:
            parsed = whole.cast(pa.timestamp("ns", tz="UTC"))
        except pa.ArrowInvalid:
            for row, text in enumerate(whole.to_pylist()):  # only a broken file is read value by value
                try:
                    pa.scalar(text).cast(pa.timestamp("ns", tz="UTC"))
                except pa.ArrowInvalid:
                    raise self.malformed(row, "timestamp", f"not a time: {_quoted(array[row].as_py())}", cure) from None
            raise
        return np.asarray(parsed.to_numpy()).astype("datetime64[ms]").astype(np.int64)


def _read_parquet(path: Path) -> Any:
    try:
        names = pa_parquet.ParquetFile(path).schema_arrow.names
        return pa_parquet.read_table(path, columns=_wanted(names))
    except pa.ArrowInvalid as error:
        raise InteractionsMalformed(
            path,
            line=1,
            column="-",
            problem=f"not a Parquet file ({_first_line(error)})",
            cure="Write it again.",
        ) from error


def _read_csv(path: Path) -> Any:
    """Every column as text: what a value means is decided here, where its line is still known."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        names = next(csv.reader(file), [])
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise InteractionsMalformed(path, line=1, column=twice, problem="the column stands twice", cure="Rename one.")
    try:
        return pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(block_size=16 << 20),
            convert_options=pa_csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                include_columns=_wanted(names),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        # Found by reading again: a handler for broken rows is let go by one of Arrow's threads, and an interpreter that
        # ends before that thread has had its turn may be aborted.
        if "parse error" in str(error):
            raise _broken_row(path, len(names)) from error
        raise InteractionsMalformed(
            path,
            line=_first_undecodable_line(path),
            column="-",
            problem=_first_line(error),
            cure="Write UTF-8 CSV with a header.",
        ) from error


def _read_sequences(path: Path) -> Any:
    """`user item item ...` per line, in order -> a table whose time is the position in the line, in seconds."""
    users: list[str] = []
    items: list[str] = []
    lengths: list[int] = []
    with path.open(encoding="utf-8") as file:
        for line, text in enumerate(file, start=1):
            words = text.split()
            if not words:
                continue
            if len(words) < 2:
                raise InteractionsMalformed(
                    path,
                    line=line,
                    column="item_id",
                    problem="a user without items",
                    cure="Each line is `user item item ...`.",
                )
            users.append(words[0])
            items.extend(words[1:])
            lengths.append(len(words) - 1)
    counts = np.asarray(lengths, dtype=np.int64)
    starts = np.cumsum(counts) - counts
    positions = np.arange(len(items), dtype=np.int64) - np.repeat(starts, counts)
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()).take(pa.array(np.repeat(np.arange(len(users)), counts))),
            "item_id": pa.array(items, pa.string()),
            "timestamp": positions,
        }
    )


def _wanted(names: Sequence[str]) -> list[str]:
    return [n for n in names if n in REQUIRED or n in OPTIONAL or n.startswith(CONTEXT_PREFIX)]


def _line_of_row(path: Path, row: int) -> int:
    return row + 1


def _broken_row(path: Path, expected: int) -> InteractionsMalformed:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.reader(file)
        names = next(reader)
        for row in reader:
            if row and len(row) != expected:
                column = names[len(row)] if len(row) < expected else names[-1]
                return InteractionsMalformed(
                    path,
                    line=reader.line_num,
                    column=column,
                    problem=f"{len(row)} fields, {expected} expected",
                    cure="Quote fields that hold commas.",
                )
    return InteractionsMalformed(path, line=1, column="-", problem="rows of unequal length", cure="Check the quoting.")


def _first_undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        for line, raw in enumerate(file, start=1):
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError:
                return line
    return 1


def _numpy(array: Any) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _as_text(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
