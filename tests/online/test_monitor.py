"""What the learner is watched with is river's own, and comes without what river would bring along."""

import subprocess
import sys
from pathlib import Path

import pytest

from online.detectors import ADWIN, Watched

ROOT = Path(__file__).resolve().parent.parent.parent
ASKED = "print([name for name in ('scipy.stats', 'river.drift', 'river.stats') if name in sys.modules])"


@pytest.mark.parametrize(
    ("start", "found"),
    [
        ("import online.learner, online.detectors", "['river.stats']"),
        ("import api.app", "[]"),
    ],
)
def test_no_start_brings_what_nobody_needs(start: str, found: str) -> None:
    program = f"import sys\n{start}\n{ASKED}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found


def test_the_detector_is_rivers_own() -> None:
    from river import drift

    assert ADWIN is drift.ADWIN and hasattr(drift, "PageHinkley")


def test_a_jump_is_a_drift_and_nothing_is_none() -> None:
    watched, total = Watched(), 0.0
    for k in range(1, 2_001):
        total += 1.0 + 0.1 * (k % 3)
        watched.reach(float(k), total, least=1)
    assert watched.drifts == 0 and watched.mean.get() == pytest.approx(1.1, abs=0.01)
    for k in range(2_001, 4_001):
        total += 3.0
        watched.reach(float(k), total, least=1)
    assert watched.drifts > 0 and watched.mean.get() > 2.9
