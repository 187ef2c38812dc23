"""Monitors see the same whether river was there all along or came later; nobody waits for it at a start."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from online.fold import Fold
from online.monitor import NAMES, Detectors, Monitor
from online.records import Begin, Event, Record
from online.settings import Settings, settings_text
from online.state import State

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = Settings()


def _batches(n: int) -> list[list[Record]]:
    chance = np.random.Generator(np.random.Philox(key=4))
    records: list[Record] = [
        Event(f"e{k}", "play", f"u{k % 17}", f"i{chance.integers(9 if k < 1_500 else 300)}", 1_000 * k, 0)
        for k in range(n)
    ]
    cuts = [0, *sorted(chance.integers(n, size=60).tolist()), n]
    return [records[first:last] for first, last in itertools.pairwise(cuts)]


def test_what_passes_before_river_is_there_is_seen_as_it_would_have_been() -> None:
    state = State(RULES, None)
    fold = Fold(state)
    fold.entries([(1, Begin(1, "", RULES.seed, settings_text(RULES), 0))])
    there, later = Detectors(), Detectors()
    there.start()
    there.wait()
    at_once, behind = Monitor(state, there), Monitor(state, later)
    batches = _batches(3_000)
    for number, batch in enumerate(batches):
        fold.entries(enumerate(batch, start=state.position + 1))
        assert at_once.update()
        assert behind.update() == (number > len(batches) // 2)
        if number == len(batches) // 2:
            later.start()
            later.wait()
    assert dict(zip(NAMES, behind.figures(), strict=True)) == dict(zip(NAMES, at_once.figures(), strict=True))
    assert at_once.figures()[0] > 0.0


def test_an_import_that_fails_is_told_to_the_learner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "online.detectors", None)  # as where river is not installed
    detectors = Detectors()
    monitor = Monitor(State(RULES, None), detectors)
    detectors.start()
    detectors.wait()
    with pytest.raises(ModuleNotFoundError):
        monitor.update()


def test_no_start_waits_for_river() -> None:
    program = (
        "import sys, online.learner, api.app; print([name for name in ('river', 'scipy.stats') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
