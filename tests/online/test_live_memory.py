"""A worker lives for months, learners and pasts come and go: what belonged to those that are gone is let go of."""

import gc
import re
from pathlib import Path
from weakref import ref

import pytest

from online.fold import Fold
from online.live import LiveModel
from online.pricing.records import FlightUpsert
from online.publication import Publisher
from online.records import Begin, Event
from online.settings import Settings, settings_text
from online.state import State

SETTINGS = Settings()
AT_MS = 1_700_000_000_000
MAPS = Path("/proc/self/maps")


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    flight = FlightUpsert("f", AT_MS, "A-B", AT_MS + 10**9, 9, "EUR", 1_000, 90_000, (5_000, 9_000))
    state = State(SETTINGS, None)
    records = [
        Begin(1, "", 0, settings_text(SETTINGS), 0),
        flight,
        *(Event(f"e{k}", "click", f"u{k}", f"i{k % 7}", AT_MS + k, 0) for k in range(40)),
    ]
    Fold(state).entries(list(enumerate(records, start=1)))
    return Publisher(tmp_path / "shared", state)


def use(model: LiveModel) -> None:
    for k in range(4):
        model.recommend(decision_id=f"d{k}", user_id=f"u{k}", n=3, at_ms=AT_MS, received_ms=AT_MS)
        model.pricing.quote(quote_id=f"q{k}", flight_id="f", at_ms=AT_MS, received_ms=AT_MS, features=None)


def test_a_model_whose_learner_is_gone_goes_at_once(publisher: Publisher) -> None:
    """Not when the collector of cycles comes: a worker is set to collect everything once in hours."""
    gc.disable()
    try:
        model = LiveModel(publisher.folder, SETTINGS, None)
        use(model)
        gone = ref(model)
        del model
        assert gone() is None
    finally:
        gc.enable()
        publisher.close()


@pytest.mark.skipif(not MAPS.exists(), reason="no /proc to read it from")
def test_only_the_newest_arrays_stay_mapped(publisher: Publisher) -> None:
    """Every act on the past publishes others; who maps the ones before keeps them in memory for all."""
    model = LiveModel(publisher.folder, SETTINGS, None)
    for _ in range(5):
        use(model)
        publisher.publish()  # the other side
        use(model)
        publisher.adopt(publisher._state)
        publisher.publish()
        model.counters()
        # The publisher's own are mapped to be written.
        read = re.findall(rf" r--s .*{re.escape(str(publisher.folder))}/(arena-\d+-\d)", MAPS.read_text())
        newest = int(publisher.control[0])
        assert sorted(read) == [f"arena-{newest}-0", f"arena-{newest}-1"]
    publisher.close()
