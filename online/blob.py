"""Arrays as one file: safetensors, written here without a copy of the arrays, and read by the library.

    8 bytes: length of the header | header, JSON: dtype, shape and place of each array | the arrays

The library's writer copies everything twice, which for a whole snapshot is more than the state itself, in a process
that exists to write it.
"""

from typing import Any

import msgspec
import numpy as np

from online.tables import Array, Arrays

ALIGNMENT = 8
_NAMES = {
    "|b1": "BOOL",
    "|u1": "U8",
    "|i1": "I8",
    "<u2": "U16",
    "<i2": "I16",
    "<f2": "F16",
    "<u4": "U32",
    "<i4": "I32",
    "<f4": "F32",
    "<u8": "U64",
    "<i8": "I64",
    "<f8": "F64",
}


def pieces_of(arrays: Arrays) -> list[bytes | memoryview]:
    """The file's content in pieces, one after the other; views of the arrays, which have to stay as they are."""
    header: dict[str, Any] = {}
    pieces: list[bytes | memoryview] = []
    at = 0
    for name, array in sorted(arrays.items(), key=_widest_first):
        content = np.ascontiguousarray(array)
        header[name] = {
            "dtype": _NAMES[content.dtype.str],
            "shape": array.shape,  # np.ascontiguousarray gives a number one dimension
            "data_offsets": (at, at + content.nbytes),
        }
        at += content.nbytes
        if content.nbytes:
            pieces.append(content.data.cast("B"))
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % ALIGNMENT)
    return [len(text).to_bytes(8, "little"), text, *pieces]


def header_of(content: bytes) -> bytes:
    """The beginning of a file, up to the arrays; all of it where it is too short to have any."""
    return content[: 8 + int.from_bytes(content[:8], "little")]


def _widest_first(one: tuple[str, Array]) -> tuple[int, str]:
    """So that every array is aligned: what is narrower comes behind what is wider."""
    return -one[1].dtype.itemsize, one[0]
