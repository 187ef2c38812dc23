"""Texts of a table's rows (an item's id, what is said about it): one growing blob, and each row's place in it.

Places and dead bytes depend on history and capacity, so they stay out of the digest: what counts is each row's text,
joined in the order of the rows.
"""

from typing import Any, NamedTuple

import numpy as np

from online.compiling import kernel
from online.tables import Column


class Text(NamedTuple):
    """start: [rows], length: [rows], bytes: [blob], used: [1] bytes of the blob."""

    start: np.ndarray[Any, np.dtype[np.int64]]
    length: np.ndarray[Any, np.dtype[np.int32]]
    bytes: np.ndarray[Any, np.dtype[np.uint8]]
    used: np.ndarray[Any, np.dtype[np.int64]]


def text_columns(table: str, name: str) -> list[Column]:
    """Columns of one text of `table`; the blob is a table of its own, `<name>_text`."""
    return [
        Column(name=f"{table}.{name}_start", dtype="i8", derived=True, served=True),
        Column(name=f"{table}.{name}_length", dtype="i4", served=True),
        Column(name=f"{name}_text.bytes", dtype="u1", derived=True, served=True),
        Column(name=f"{name}_text_used.used", dtype="i8", derived=True, served=True),
    ]


def text_capacity(name: str, bytes_: int) -> dict[str, int]:
    """Capacities of the blob's tables."""
    return {f"{name}_text": bytes_, f"{name}_text_used": 1}


def text(arrays: dict[str, np.ndarray[Any, Any]], table: str, name: str) -> Text:
    """The view of the columns."""
    return Text(
        start=arrays[f"{table}.{name}_start"],
        length=arrays[f"{table}.{name}_length"],
        bytes=arrays[f"{name}_text.bytes"],
        used=arrays[f"{name}_text_used.used"],
    )


def write_text(text: Text, row: int, content: bytes) -> None:
    """Give `row` its text; the caller has made room in the blob."""
    used = int(text.used[0])
    text.bytes[used : used + len(content)] = np.frombuffer(content, np.uint8)
    text.start[row] = used
    text.length[row] = len(content)
    text.used[0] = used + len(content)


def read_text(text: Text, row: int) -> str:
    """The text of `row`."""
    start = int(text.start[row])
    return text.bytes[start : start + int(text.length[row])].tobytes().decode("utf-8")


@kernel
def _gather(start: Any, length: Any, blob: Any, count: int, out: Any) -> None:
    at = 0
    for row in range(count):
        for k in range(length[row]):
            out[at] = blob[start[row] + k]
            at += 1


def joined(text: Text, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """All texts of the first `count` rows, one after the other: the canonical form."""
    out = np.empty(int(text.length[:count].sum()), np.uint8)
    _gather(text.start, text.length, text.bytes, count, out)
    return out


def load_joined(text: Text, count: int, content: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """The inverse of `joined`, lengths already being there; the caller has made room."""
    text.start[:count] = np.cumsum(text.length[:count], dtype=np.int64) - text.length[:count]
    text.bytes[: content.size] = content
    text.used[0] = content.size
