"""Statistics of a run: ratios, intervals by viewer, percentiles, and files that keep what was measured."""

import math

import numpy as np
import pytest

from simulations.measurements import (
    Decision,
    Freshness,
    clustered_ratio,
    difference,
    percentile,
    read_decisions,
    read_freshness,
    share_of_best,
    write_measurements,
)


def decision(viewer: int, value: float, best: float, **changes: object) -> Decision:
    fields = {
        "wall_s": 1.0,
        "at_ms": 1_737_331_200_000,
        "phase": "live",
        "joined_live": 0,
        "arm": "live",
        "n": 10,
        "random": 0.1,
        "observed": 1.0,
        "new_titles": 0,
        "best_new_titles": 1,
        "latency_ms": 2.0,
        "staleness_ms": 1.0,
    }
    return Decision(viewer=viewer, value=value, best=best, **{**fields, **changes})


def test_share_of_best_is_the_ratio_of_sums():
    found = share_of_best([decision(1, 1.0, 2.0), decision(2, 3.0, 4.0)])
    assert found.mean == pytest.approx(4 / 6)
    assert (found.n, found.viewers) == (2, 2)


def test_without_decisions_nothing_is_claimed():
    assert math.isnan(share_of_best([]).mean)


def test_repeating_a_viewers_visits_does_not_narrow_the_interval():
    chance = np.random.default_rng(1)
    once = [(float(v), 1.0, viewer) for viewer, v in enumerate(chance.random(50))]
    tenfold = once * 10
    narrow = clustered_ratio(*zip(*once, strict=True))
    same = clustered_ratio(*zip(*tenfold, strict=True))
    assert same.high - same.low == pytest.approx(narrow.high - narrow.low)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """400 draws of 60 viewers with 1 to 8 visits each; 95 % within four standard errors, 0.044."""
    chance = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        visits = chance.integers(1, 9, size=60)
        level = np.repeat(chance.normal(0.5, 0.1, size=60), visits)
        tops = level + chance.normal(0.0, 0.2, size=len(level))
        found = clustered_ratio(tops, np.ones(len(tops)), np.repeat(np.arange(60), visits))
        covered += found.low <= 0.5 <= found.high
    assert covered / 400 == pytest.approx(0.95, abs=0.044)


def test_a_difference_is_as_uncertain_as_its_parts_together():
    one = share_of_best([decision(v, 1.0 + 0.01 * v, 2.0) for v in range(20)])
    other = share_of_best([decision(v, 0.5 + 0.01 * v, 2.0) for v in range(20)])
    change = difference(one, other)
    assert change.mean == pytest.approx(one.mean - other.mean)
    assert change.high - change.low == pytest.approx(math.hypot(one.high - one.low, other.high - other.low))


def test_percentiles_are_values_that_occurred():
    assert percentile([5.0, 1.0, 3.0], 0.5) == 3.0
    assert percentile(list(range(1, 101)), 0.99) == 99
    assert math.isnan(percentile([], 0.5))


def test_what_was_measured_is_read_back_as_it_was(tmp_path):
    decisions = [decision(3, 1.25, 2.5, arm="champion", phase="held_out"), decision(4, 0.1, 0.3)]
    freshness = [Freshness(1.5, 3.25, 1), Freshness(2.5, 250.0, 0)]
    write_measurements(tmp_path / "d.csv", decisions, Decision)
    write_measurements(tmp_path / "f.csv", freshness, Freshness)
    assert read_decisions(tmp_path / "d.csv") == decisions
    assert read_freshness(tmp_path / "f.csv") == freshness
