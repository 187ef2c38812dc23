"""The hash index of a growing table agrees with a dictionary, and rows given back are taken again lowest first."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from online.rows import Rows, add_row, find_row, reindex_rows, room, rows, rows_capacity, rows_columns
from online.tables import allocate

CAPACITY = 16


def fresh() -> Rows:
    return rows(allocate(rows_columns("users"), rows_capacity("users", CAPACITY)), "users")


@given(st.lists(st.one_of(st.integers(1, 40), st.sets(st.integers(0, CAPACITY - 1), min_size=1)), max_size=80))
def test_rows_agree_with_a_dictionary_through_additions_and_evictions(steps: list[int | set[int]]) -> None:
    index, model = fresh(), dict[int, int]()
    for step in steps:
        if isinstance(step, set):
            for key in [k for k, row in model.items() if row in step]:
                index.key[model.pop(key)] = 0
            reindex_rows(index)
        elif step not in model and room(index) > 0:
            row = add_row(index, np.uint64(step))
            assert row == min(set(range(CAPACITY)) - set(model.values()))
            model[step] = row
        for key in range(1, 41):
            assert find_row(index, np.uint64(key)) == model.get(key, -1)
