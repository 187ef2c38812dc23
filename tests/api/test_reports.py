"""The experiment's interval: true at every moment at once."""

import numpy as np

from api.reports import mixture_radius


def test_the_interval_of_a_mean_holds_at_all_times_at_once() -> None:
    """400 streams of 3,000 rewards, looked at after each one: at most 5 % may ever miss the mean (seed fixed)."""
    draw = np.random.default_rng(7)
    rewards = draw.random((400, 3_000)) < 0.3
    n = np.arange(1, 3_001)
    means = rewards.cumsum(axis=1) / n
    radii = np.array([mixture_radius(int(count), alpha=0.05) for count in n])
    missed = (np.abs(means - 0.3) > radii).any(axis=1).mean()
    assert missed <= 0.05


def test_the_interval_narrows_as_more_is_known() -> None:
    radii = [mixture_radius(n, alpha=0.05) for n in (10, 100, 1_000, 10_000, 100_000)]
    assert radii == sorted(radii, reverse=True)
    assert radii[-1] < 0.01
