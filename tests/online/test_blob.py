"""What is written here is what the library reads, and what it would have written itself."""

import numpy as np
import pytest
from safetensors.numpy import load, save

from online.blob import pieces_of
from online.state import COLUMNS


def test_the_library_reads_what_is_written_here() -> None:
    chance = np.random.Generator(np.random.Philox(key=5))
    shapes = [(3,), (0,), (0, 4), (2, 3, 5), (1, 1), (7, 2)]
    kinds = sorted({np.dtype(column.dtype) for column in COLUMNS} | {np.dtype("u1"), np.dtype("u4")}, key=str)
    arrays = {
        f"{kind.name}.{number}|{'rows' if number % 2 else 'values'}": chance.integers(0, 2, shape).astype(kind)
        for kind in kinds
        for number, shape in enumerate(shapes)
    }
    arrays["turned.round"] = np.arange(12.0).reshape(3, 4).T  # whose bytes lie in another order
    content = b"".join(pieces_of(arrays))
    read = load(content)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype and read[name].shape == array.shape
        assert read[name].tobytes() == array.tobytes()
    theirs = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    assert len(theirs) == len(content)


def test_nothing_at_all_is_a_file_too() -> None:
    assert load(b"".join(pieces_of({}))) == {}


def test_an_array_of_a_kind_that_has_no_name_is_refused() -> None:
    with pytest.raises(KeyError):
        pieces_of({"a.b": np.zeros(3, np.complex128)})
