"""The columns in front say what a look at each item would, and change when the state does."""

from typing import Any

import numpy as np
import pytest

from online.recommendation import layout
from online.recommendation.availability import Open
from online.recommendation.catalogue import NEVER_MS, Catalogue
from online.recommendation.front import ANEW, empty_front, gather_front, keep_open_front, look_at_front
from online.recommendation.layout import Learners
from online.recommendation.memory import close_up
from online.recommendation.ranking import keep_best
from online.recommendation.score import first_look, gather
from tests.online.recommendation.test_learners import CONTEXT, NOW_MS, grown  # noqa: F401

NOTHING = np.float32(0.0)


def all_open(rows: int) -> Open:
    key = np.arange(1, rows + 1).astype(np.uint64)
    everything = Catalogue(
        np.full(rows, -NEVER_MS, np.int64),
        np.full(rows, NEVER_MS, np.int64),
        np.zeros((rows, 1, 1), np.uint64),
        np.zeros(rows, np.int32),
    )
    return Open(everything, key, key, np.zeros(rows, np.int64))


def looked_at(bound: Learners, user: int) -> tuple[Any, Any]:
    """(rows in front, their values) for a user."""
    rows = len(bound.items.bias)
    front = empty_front(rows)
    gather(bound, user, NOW_MS, CONTEXT)
    gather_front(front, bound, all_open(rows), rows, ANEW)
    look_at_front(front, bound, NOTHING)
    used = int(front.used[0])
    return front.row[:used].copy(), front.value[:used].copy()


@pytest.mark.parametrize("user", [-1, 0, 7])
def test_a_column_has_the_bits_that_a_look_at_its_item_gives(grown: tuple[dict, Learners], user: int) -> None:  # noqa: F811
    _, bound = grown
    rows, values = looked_at(bound, user)
    assert len(set(rows.tolist())) == len(rows) > 20
    one_by_one = np.zeros(layout.LISTED_MAX, np.float32)
    first_look(bound, rows, len(rows), NOTHING, one_by_one)
    assert one_by_one[: len(rows)].tobytes() == values.tobytes()


def test_columns_are_gathered_once_for_a_version_and_anew_for_another(grown: tuple[dict, Learners]) -> None:  # noqa: F811
    _, bound = grown
    many = len(bound.items.bias)
    front, rows = empty_front(many), all_open(many)
    gather(bound, -1, NOW_MS, CONTEXT)
    gather_front(front, bound, rows, many, 4)
    item = int(front.row[0])
    kept, before = front.bias[0], float(bound.items.bias[item])
    try:
        bound.items.bias[item] = before + 1.0
        gather_front(front, bound, rows, many, 4)
        assert front.bias[0] == kept
        gather_front(front, bound, rows, many, 5)
        assert front.bias[0] == np.float32(before + 1.0)
        bound.items.bias[item] = before
        gather_front(front, bound, rows, many, ANEW)
        assert front.bias[0] == kept
    finally:
        bound.items.bias[item] = before
    used = int(front.used[0])
    assert (front.column >= 0).sum() == used
    assert front.column[front.row[:used]].tolist() == list(range(used))


def test_what_is_excluded_or_not_for_sale_is_not_kept(grown: tuple[dict, Learners]) -> None:  # noqa: F811
    _, bound = grown
    many = len(bound.items.bias)
    front, rows = empty_front(many), all_open(many)
    gather(bound, -1, NOW_MS, CONTEXT)
    gather_front(front, bound, rows, many, ANEW)
    first, second, third = (int(row) for row in front.row[:3])
    rows.catalogue.available_from_ms[first] = NOW_MS + 1
    rows.catalogue.available_until_ms[second] = NOW_MS
    gather_front(front, bound, rows, many, ANEW)
    stamps = np.zeros(many, np.int64)
    stamps[third] = 9
    listed, values = np.zeros(layout.LISTED_MAX, np.int32), np.zeros(layout.LISTED_MAX, np.float32)
    used = int(front.used[0])
    open_ones = listed[: keep_open_front(front, stamps, 9, NOW_MS, listed, values)].tolist()
    assert open_ones == front.row[3:used].tolist()
    assert keep_open_front(front, stamps, -1, NOW_MS, listed, values) == used - 2


def test_the_best_are_those_that_sorting_would_put_first() -> None:
    draw = np.random.default_rng(5)
    keys = np.zeros(700, np.uint64)
    for size, most in ((3, 64), (64, 64), (65, 64), (640, 64), (650, 1), (680, 679)):
        for _ in range(20):
            values = draw.choice(np.array([0.25, -1.0, 3.0, 2.0**-20], np.float32), size) * np.float32(
                draw.integers(1, 4)
            )
            rows = draw.permutation(10_000)[:size].astype(np.int64)
            held = keep_best(values, rows, size, keys, 0, most)
            best = sorted(zip(-values, rows, strict=True))[:most]
            kept = {int(np.uint64(0xFFFFFFFF) - (key & np.uint64(0xFFFFFFFF))) for key in keys[:held]}
            assert kept == {int(row) for _, row in best}


def test_free_slots_stand_behind_the_ones_in_use_again() -> None:
    items = np.array([[4, -1, 7, -1, 2], [1, 2, -1, -1, -1], [-1, -1, -1, -1, 3]], np.int32)
    counts = np.array([[1, 2, 3, 4, 5], [1, 2, 0, 0, 0], [9, 9, 9, 9, 1]], np.float32)
    close_up(items, counts)
    assert items.tolist() == [[4, 7, 2, -1, -1], [1, 2, -1, -1, -1], [3, -1, -1, -1, -1]]
    assert counts[0, :3].tolist() == [1, 3, 5] and counts[2, 0] == 1
