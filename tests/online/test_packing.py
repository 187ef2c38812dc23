"""Rows out of columns side by side, and columns out of rows: not a bit is another one on the way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online.packing import APART, BLOCK, REST, Packing, packings
from online.settings import Settings
from online.state import COLUMNS, State
from online.tables import Arrays

SHAPES = ((), (1,), (2,), (3,), (5, 3), (64,))


def bits(chance: np.random.Generator, dtype: str, rows: int, shape: tuple[int, ...]) -> np.ndarray:
    """Any bits, numbers that are none among them."""
    size = rows * int(np.prod(shape)) * np.dtype(dtype).itemsize
    return chance.integers(0, 256, size).astype(np.uint8).view(dtype).reshape(rows, *shape)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), rows=st.integers(0, 90))
def test_rows_that_were_packed_are_the_columns_again_bit_by_bit(seed: int, rows: int) -> None:
    chance = np.random.Generator(np.random.Philox(key=seed))
    dtypes = sorted({np.dtype(column.dtype).str for column in COLUMNS})
    arrays = {
        f"a.{k}": bits(chance, dtypes[int(chance.integers(len(dtypes)))], rows, SHAPES[int(chance.integers(6))])
        for k in range(int(chance.integers(1, 9)))
    }
    table = Packing(arrays)
    size = max(BLOCK, table.width)
    by_hand = [
        b"".join(array[first : first + table.per].tobytes() for _, array in sorted(arrays.items())).ljust(size, b"\0")
        for first in range(0, rows, table.per)
    ]
    assert table.blocks == len(by_hand)
    room = table.room(table.blocks)
    for _ in range(2):  # what was in the room before leaves nothing behind
        assert [block.tobytes() for block in table.between(0, table.blocks, room)] == by_hand
        some = np.flatnonzero(chance.integers(0, 2, table.blocks))
        if len(some):
            assert [block.tobytes() for block in table.of(some, room)] == [by_hand[block] for block in some]
            first, last = int(some[0]), int(some[-1]) + 1
            assert [block.tobytes() for block in table.between(first, last, room)] == by_hand[first:last]
    picked = np.flatnonzero(chance.integers(0, 2, rows))
    values = table.values(picked)
    assert values.tobytes() == b"".join(array[picked].tobytes() for _, array in sorted(arrays.items()))
    empty = Packing({name: array[:0] for name, array in arrays.items()})
    for name, column in empty.with_rows(np.arange(len(picked)), values).items() if len(picked) else ():
        assert column.dtype == arrays[name].dtype and column.shape == arrays[name][picked].shape
        assert column.tobytes() == arrays[name][picked].tobytes()
    one = Packing(arrays, one_row=True)
    whole = one.values(np.zeros(1, np.int64))
    assert one.rows == 1 and whole.tobytes() == b"".join(array.tobytes() for _, array in sorted(arrays.items()))
    for name, array in one.with_rows(np.zeros(1, np.int64), whole).items():
        assert array.dtype == arrays[name].dtype and array.shape == arrays[name].shape
        assert array.tobytes() == arrays[name].tobytes()


def test_every_array_of_a_state_is_in_one_table_but_for_the_position() -> None:
    arrays: Arrays = dict(State(Settings(), None).canonical())
    tables = packings(arrays)
    assert sorted(name for table in tables.values() for name in table.arrays) == sorted(arrays.keys() - {APART})
    assert {"seen", "slots", "contexts", "items.id_joined", "fare_rules", REST} <= tables.keys()
    assert "mixing.weight" in tables[REST].arrays and "users.key" in tables[REST].arrays, "as long as there are few"
    assert sum(table.rows * table.width for table in tables.values()) == sum(a.nbytes for a in arrays.values()) - 8


def test_columns_with_different_rows_are_no_table() -> None:
    with pytest.raises(ValueError, match=r"a\.b, a\.c: \[2, 3\] rows"):
        Packing({"a.b": np.zeros(2), "a.c": np.zeros(3)})
