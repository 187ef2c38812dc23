"""The slate's policy: propensities are exact, rules hold whatever the scores say."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from online.recommendation.availability import Open, keep_open
from online.recommendation.catalogue import GROUPS_MAX, NEVER_MS, Catalogue
from online.recommendation.ranking import keep_best, rows_of, sort_rows
from online.recommendation.slate import EXPLORED_MAX, choice_weights, pick_slate
from online.settings import CAPS_MAX

SCORES = st.floats(allow_nan=True, allow_infinity=True, width=32)


def catalogue(n: int) -> Catalogue:
    return Catalogue(
        available_from_ms=np.full(n, -NEVER_MS, np.int64),
        available_until_ms=np.full(n, NEVER_MS, np.int64),
        groups=np.zeros((n, CAPS_MAX, GROUPS_MAX), np.uint64),
        about_length=np.zeros(n, np.int32),
    )


def best_rows(scores: np.ndarray, pool: np.ndarray) -> int:
    """The best of all rows into pool, best first; how many."""
    keys = np.zeros(len(pool) + 16, np.uint64)  # as few more as make it cut many times
    size = keep_best(scores, np.arange(len(scores)), len(scores), keys, 0, len(pool))
    rows_of(keys, size, pool)
    return int(sort_rows(scores, pool, size, keys))


def picked(scores: np.ndarray, items: Catalogue, *, n: int, exploration: float, decision: int, caps: list[int]):
    pool = np.empty(64, np.int64)
    pooled = best_rows(scores, pool)
    rows, propensities = np.zeros(n, np.int64), np.zeros(n)
    filled = pick_slate(
        scores, pool, pooled, items, np.array(caps, np.int64), n, exploration, np.uint64(1), np.uint64(decision),
        rows, propensities,
    )  # fmt: skip
    return rows[:filled].tolist(), propensities[:filled].tolist()


@given(st.lists(SCORES, min_size=1, max_size=100), st.integers(1, 64))
def test_the_pool_is_the_sorted_top_of_the_finite_scores_ties_to_the_lower_row(scores: list[float], most: int) -> None:
    given_scores = np.array(scores, np.float32)
    pool = np.empty(most, np.int64)
    size = best_rows(given_scores, pool)
    numbers = [row for row in range(len(scores)) if abs(given_scores[row]) < 3e38]
    assert pool[:size].tolist() == sorted(numbers, key=lambda row: (-given_scores[row], row))[:most]


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=EXPLORED_MAX), st.floats(0, 1))
def test_propensities_at_a_position_sum_to_one_and_fall_with_the_score(scores: list[float], exploration: float) -> None:
    given_scores = np.array(sorted(scores, reverse=True), np.float32)
    weights = np.zeros(EXPLORED_MAX)
    choice_weights(given_scores, np.arange(len(scores)), len(scores), exploration, weights)
    weights = weights[: len(scores)]
    assert abs(weights.sum() - 1.0) < 1e-9
    assert (np.diff(weights) <= 1e-12).all() and (weights >= 0.0).all()


def test_the_first_position_is_chosen_as_often_as_its_propensities_say() -> None:
    scores = np.array([1.0, 0.5, 0.0, -1.0], np.float32)
    counts, sample = Counter[int](), 20_000
    stated: dict[int, float] = {}
    for decision in range(sample):
        rows, propensities = picked(scores, catalogue(4), n=1, exploration=0.6, decision=decision, caps=[])
        counts[rows[0]] += 1
        stated[rows[0]] = propensities[0]
    assert abs(sum(stated.values()) - 1.0) < 1e-9
    for row, propensity in stated.items():
        # 20,000 draws: five standard errors.
        assert abs(counts[row] / sample - propensity) < 5 * (propensity * (1 - propensity) / sample) ** 0.5


@given(st.lists(SCORES, min_size=1, max_size=60), st.floats(0, 1), st.integers(0, 2**32), st.integers(1, 3))
def test_no_slate_breaks_a_cap_or_repeats_an_item(
    scores: list[float], exploration: float, decision: int, most: int
) -> None:
    items = catalogue(len(scores))
    items.groups[:, 0, 0] = np.arange(len(scores)) % 5 + 1
    rows, propensities = picked(
        np.array(scores, np.float32), items, n=10, exploration=exploration, decision=decision, caps=[most]
    )
    assert len(set(rows)) == len(rows)
    assert max(Counter(int(items.groups[row, 0, 0]) for row in rows).values(), default=0) <= most
    assert all(0.0 < p <= 1.0 + 1e-12 for p in propensities)


def test_only_items_that_are_there_and_available_may_be_shown() -> None:
    items = catalogue(6)
    items.available_from_ms[1], items.available_until_ms[2] = 101, 100
    live, known = np.array([9, 9, 9, 0, 7, 9], np.uint64), np.array([9, 9, 9, 0, 9, 9], np.uint64)
    rows = Open(items, live, known, np.array([0, 0, 0, 0, 0, 3]))
    listed = np.arange(6)
    assert listed[: keep_open(rows, listed, 6, 6, 100, 3)].tolist() == [0]
    listed = np.arange(6)
    assert listed[: keep_open(rows, listed, 6, 6, 100, 4)].tolist() == [0, 5]
    listed = np.arange(-1, 5)
    assert listed[: keep_open(rows, listed, 6, 0, 100, 4)].tolist() == []


def test_greedy_without_exploration_is_the_top_with_certainty() -> None:
    rows, propensities = picked(
        np.array([0.1, 0.9, 0.5], np.float32), catalogue(3), n=2, exploration=0.0, decision=5, caps=[]
    )
    assert (rows, propensities) == ([1, 2], [1.0, 1.0])
