"""Chance is a function of its key, and the function is Philox."""

import numpy as np
import pytest

from online.chance import hash64, philox, uniform


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        # Known answers of the Random123 distribution, philox4x32 with 10 rounds.
        (0, (0xE169C58D6627E8D5, 0x9B00DBD8BC57AC4C)),
        (2**64 - 1, (0x41C83B0E408F276D, 0x6D5451FDA20BC7C6)),
    ],
)
def test_philox_gives_the_published_known_answers(word: int, expected: tuple[int, int]) -> None:
    given = np.uint64(word)
    assert tuple(map(int, philox(given, given, given))) == expected


def test_draws_are_uniform_and_do_not_repeat() -> None:
    drawn = np.array([uniform(np.uint64(7), np.uint64(counter), 0) for counter in range(20_000)])
    assert 0.0 <= drawn.min() and drawn.max() < 1.0
    assert len(set(drawn.tolist())) == 20_000
    # 20 bins, 20,000 draws: chi-square with 19 degrees of freedom stays below 43.8 in 99.9 % of samples.
    counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
    assert ((counts - 1_000.0) ** 2 / 1_000.0).sum() < 43.8


def test_another_key_counter_or_draw_gives_another_number() -> None:
    one = uniform(np.uint64(1), np.uint64(2), 3)
    assert len({one, uniform(np.uint64(2), np.uint64(2), 3), uniform(np.uint64(1), np.uint64(3), 3),
                uniform(np.uint64(1), np.uint64(2), 4)}) == 4  # fmt: skip


def test_an_ids_key_is_never_the_mark_of_an_empty_slot() -> None:
    keys = [hash64(f"id-{k}") for k in range(10_000)]
    assert 0 not in keys and len(set(keys)) == 10_000
