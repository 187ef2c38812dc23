"""What a worker sees in shared memory is the learner's state at one position, always whole."""

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest

from online.fold import Fold
from online.live import LearnerNotReady, LiveModel
from online.publication import SERVED, Publisher
from online.recommendation.decide import Decider, Request
from online.settings import Settings
from online.state import COLUMN_BY_NAME, State
from online.views import bind, read_only

RULES = Settings(
    attribution_window_s=600, event_ids_max=64, decisions_max=32, slots_max=800, users_max=24, exploration=0.3
)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "shared"


def shown(model: LiveModel) -> dict[str, np.ndarray]:
    _, arrays = model.front_arrays()
    return arrays


def test_the_front_side_equals_the_state_after_every_publication(make_stream, shared: Path) -> None:
    entries = make_stream(7, 900, RULES, users=50, items=700)
    state = State(RULES, None)
    publisher, fold = Publisher(shared, state), Fold(state)
    model = LiveModel(shared, RULES, None)
    for first in range(0, len(entries), 13):
        fold.entries(entries[first : first + 13])
        publisher.publish()
        arrays = shown(model)
        assert model.position == state.position
        for column in SERVED:
            assert arrays[column.name].tobytes() == state.arrays[column.name].tobytes(), (first, column.name)
    assert publisher.control[0] > 2, "the stream was meant to make tables grow"
    publisher.close()


def test_a_worker_decides_as_the_state_itself_would(make_stream, folded, shared: Path) -> None:
    state = folded(RULES, make_stream(9, 400, RULES))
    publisher = Publisher(shared, state)
    model = LiveModel(shared, RULES, None)
    views = bind(read_only(state.arrays, COLUMN_BY_NAME), RULES)
    for k in range(30):
        request = Request(f"decision-{k}", f"u{k}", 5, 1_700_000_900_000, {"device": "tv"})
        record = model.recommend(
            decision_id=request.decision_id,
            user_id=request.user_id,
            n=request.n,
            at_ms=request.at_ms,
            received_ms=0,
            context=request.context,
        )
        again = Decider(RULES).decide(views, None, request)
        assert record.read_position == state.position
        assert tuple(state.item_id(row) for row in again.rows) == record.item_ids
        assert (again.scores, again.propensities, again.because) == (record.scores, record.propensities, record.because)
    publisher.close()


def _read_for_a_while(folder: Path, seconds: float, results: "multiprocessing.Queue[tuple[int, int]]") -> None:
    model = LiveModel(folder, RULES, None)
    ends, reads, torn = time.monotonic() + seconds, 0, 0
    while time.monotonic() < ends:
        version, arrays = model.front_arrays()
        before = int(arrays["frame.position"][0])
        counted = int(arrays["frame_counters.counters"][0])
        seen = int(arrays["seen_count.count"][0])
        if model.holds(version):
            reads += 1
            torn += counted < seen or before < seen
    results.put((reads, torn))


def test_readers_never_see_half_a_publication(make_stream, shared: Path) -> None:
    entries = make_stream(13, 4_000, RULES, users=20, items=100)
    state = State(RULES, None)
    publisher, fold = Publisher(shared, state), Fold(state)
    fold.entries(entries[:100])
    publisher.publish()
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[tuple[int, int]] = context.Queue()
    reader = context.Process(target=_read_for_a_while, args=(shared, 3.0, results))
    reader.start()
    for first in range(100, len(entries), 3):
        fold.entries(entries[first : first + 3])
        publisher.publish()
        time.sleep(0.001)
    reads, torn = results.get(timeout=60)
    reader.join()
    publisher.close()
    assert reads > 100 and torn == 0


def test_attaching_before_the_learner_has_published_says_so(tmp_path: Path) -> None:
    with pytest.raises(LearnerNotReady, match="no learner has published"):
        LiveModel.attach(tmp_path)
