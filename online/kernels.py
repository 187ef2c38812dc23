"""Compile the kernels before anybody waits for them: `python -m online.kernels [fold | decide]`.

The first start on a machine compiles for minutes; every later one loads what is kept: `online/kernel_cache.py`. The
learner calls `ready_to_fold` before it publishes, so that no first event pays for it; a worker that finds no learner
yet calls `ready_to_decide` meanwhile: the two compile side by side.
"""

import sys

from online.fold import Fold
from online.pricing import outlook
from online.pricing.quote import FareDecider
from online.pricing.records import BOOKED, Cancellation, FlightUpsert, Quote, QuoteOutcome, Tick
from online.recommendation.decide import Decider, Request
from online.records import NO_BECAUSE, Begin, Decision, Event, ItemUpsert, Record, Tally, pack_floats
from online.settings import Settings, settings_text
from online.state import COLUMN_BY_NAME, State
from online.views import bind, read_only

_SMALL = Settings(decisions_max=16, slots_max=800, event_ids_max=16)


def ready_to_fold() -> None:
    """Fold one record of every kind that has a kernel, into a state of its own."""
    shown = Decision("d", "u", 0, 0, 0, 0, 1, ("i",), pack_floats([0.0]), pack_floats([1.0]), NO_BECAUSE)
    records: list[Record] = [
        Begin(1, "", 0, settings_text(_SMALL), 0),
        ItemUpsert("i", 0),
        shown,
        Event("e", "click", "u", "i", 1, 1, decision_id="d", context={"device": "tv"}),
        Event("f", "click", "u", "j", 2, 2, context={"device": "tv"}),
        Tally(2, duplicate=1),
        FlightUpsert("f", 0, "m", 30 * 86_400_000, 5, "EUR", 5_000, 40_000),
        Quote("q", "f", 1, 1, 0, 9_000, 900_001, 900_001),
        QuoteOutcome("q", "f", BOOKED, 2, 2),
        Cancellation("q", "f", 3, 3),
        Tick(4, 1),
    ]
    state = State(_SMALL, None)
    Fold(state).entries(enumerate(records, start=1))
    state.digest()  # and what it calls, or every copy that writes a snapshot would load that for itself


def ready_to_decide() -> None:
    """Decide one slate and one fare from an empty state, as a worker would."""
    views = bind(read_only(State(_SMALL, None).arrays, COLUMN_BY_NAME), _SMALL)
    Decider(_SMALL).decide(views, None, Request("d", "u", 1, 3, {"device": "tv"}))
    FareDecider(_SMALL.pricing).warm(views.pricing)
    outlook.warm(views.pricing)


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["fold", "decide"]
    if "fold" in wanted:
        ready_to_fold()
    if "decide" in wanted:
        ready_to_decide()
    sys.exit(0)
