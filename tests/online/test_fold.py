"""The laws of the fold: a pure function of artifact and log, cut anywhere, restarted anywhere, whatever the machine."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online.fold import Fold, LogForeign
from online.frame import APPLIED, DUPLICATE, LATE, RECEIVED, REJECTED
from online.records import Act, Event
from online.settings import Settings
from online.snapshot import list_snapshots, load_snapshot, write_snapshot
from online.state import COLUMN_BY_NAME, State

SMALL = Settings(
    users_max=16, items_max=200, decisions_max=16, slots_max=800, event_ids_max=64, attribution_window_s=600
)
ROOMY = Settings(attribution_window_s=600, event_ids_max=512, decisions_max=64, slots_max=4_000)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 400), max_size=8), tight=st.booleans())
def test_batches_do_not_enter_the_digest_also_where_tables_are_full(
    make_stream, folded, seed: int, cuts: list[int], tight: bool
) -> None:
    rules = SMALL if tight else ROOMY
    entries = make_stream(seed, 400, rules, users=40, items=260)
    whole, pieces = folded(rules, entries), folded(rules, entries, cuts)
    assert whole.digest() == pieces.digest()
    assert not tight or whole.count("users") <= 16


@pytest.mark.parametrize("rules", [SMALL, ROOMY], ids=["full tables", "room"])
def test_one_by_one_equals_all_at_once(make_stream, folded, rules: Settings) -> None:
    entries = make_stream(3, 1_500, rules, users=60, items=300)
    assert folded(rules, entries, range(len(entries))).digest() == folded(rules, entries).digest()


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), middle=st.integers(1, 299), tight=st.booleans())
def test_restoring_a_snapshot_and_folding_the_rest_gives_the_same_bits(
    make_stream, folded, tmp_path_factory, seed: int, middle: int, tight: bool
) -> None:
    rules = SMALL if tight else ROOMY
    entries = make_stream(seed, 300, rules, users=40, items=260)
    folder: Path = tmp_path_factory.mktemp("snapshots")
    write_snapshot(folder, folded(rules, entries[:middle]), entry=b"entry", reason="a test", counters={})
    restored = load_snapshot(folder, list_snapshots(folder)[-1], None)
    Fold(restored).entries(entries[middle:])
    assert restored.digest() == folded(rules, entries).digest()


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_every_record_received_is_accounted_for(make_stream, folded, seed: int) -> None:
    counters = folded(ROOMY, make_stream(seed, 300, ROOMY)).views.frame.counters
    assert counters[RECEIVED] == counters[[APPLIED, DUPLICATE, LATE, REJECTED]].sum() > 0


def test_a_redelivery_changes_a_counter_and_nothing_else(make_stream, folded) -> None:
    entries = make_stream(11, 400, ROOMY, duplicates=0.0)
    before, after = folded(ROOMY, entries), folded(ROOMY, entries)
    again = [record for _, record in entries if isinstance(record, Event)][-50:]
    Fold(after).entries(list(enumerate(again, start=len(entries) + 1)))
    changed = {
        name
        for (name, one), (_, other) in zip(before.canonical(), after.canonical(), strict=True)
        if one.tobytes() != other.tobytes()
    }
    assert changed == {"frame.position", "frame_counters.counters"}
    moved = after.views.frame.counters - before.views.frame.counters
    assert moved[DUPLICATE] == moved[RECEIVED] == 50 and moved.sum() == 100


def test_a_gap_or_a_repetition_in_the_log_is_refused(make_stream, folded) -> None:
    entries = make_stream(5, 50, ROOMY)
    for wrong in (entries[:20] + entries[21:], entries[:20] + entries[19:]):
        with pytest.raises(LogForeign, match="must stand at position"):
            folded(ROOMY, wrong)


def test_tables_stay_within_their_bounds_and_finite(make_stream, folded) -> None:
    state = folded(SMALL, make_stream(23, 3_000, SMALL, users=100, items=1_000))
    assert state.count("users") <= SMALL.users_max and state.count("items") <= SMALL.items_max
    for name, array in state.canonical():
        missing = name in COLUMN_BY_NAME and np.isnan(COLUMN_BY_NAME[name].fill)  # NaN stands for "not given" there
        assert array.dtype.kind != "f" or missing or np.isfinite(array).all(), name


def test_frozen_learning_moves_no_shared_parameter(make_stream, folded) -> None:
    entries = make_stream(29, 300, ROOMY)
    frozen = [(301, Act(act="freeze", reason="a test", received_ms=0))]
    later = [
        (k, record)
        for k, (_, record) in enumerate([e for e in make_stream(31, 300, ROOMY) if isinstance(e[1], Event)], start=302)
    ]
    before = folded(ROOMY, entries).parameters()
    after = folded(ROOMY, entries + frozen + later).parameters()
    assert before
    for name, known in before.items():
        assert np.array_equal(known, after[name][: known.shape[0]]), name


FOLD_IN_ANOTHER_PROCESS = """
import sys
sys.path.insert(0, {tests!r})
from conftest import fold_in_batches, stream
from online.settings import Settings
rules = Settings(attribution_window_s=600, event_ids_max=512, decisions_max=64, slots_max=4_000)
print(fold_in_batches(rules, stream(17, 3_000, rules, users=200, items=400), {cuts}).digest())
"""

ENVIRONMENTS = {
    "one thread": {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    "two threads": {"NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
    "Haswell kernels": {"OPENBLAS_CORETYPE": "Haswell"},
    "SkylakeX kernels": {"OPENBLAS_CORETYPE": "SkylakeX"},
    "NumPy without CPU features": {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX"},
    "numba for a generic CPU": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    "another hash seed": {"PYTHONHASHSEED": "4242"},
}


def test_the_digest_is_one_under_every_environment(tmp_path: Path) -> None:
    tests = str(Path(__file__).parent)
    digests = {}
    for number, (name, changes) in enumerate(ENVIRONMENTS.items()):
        program = FOLD_IN_ANOTHER_PROCESS.format(tests=tests, cuts=[number * 100 + 7, 1_500])
        extra = {"NUMBA_CACHE_DIR": str(tmp_path)} if "NUMBA_CPU_NAME" in changes else {}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env={**os.environ, **changes, **extra},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        digests[name] = done.stdout.strip()
    assert len(set(digests.values())) == 1, digests


def test_a_state_can_be_made_without_an_artifact() -> None:
    assert State(ROOMY, None).position == 0
