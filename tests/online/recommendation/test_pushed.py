"""What a few accounts can make of an item by reporting it, beside what many take."""

import numpy as np

from online.chance import hash64
from online.fold import Fold
from online.recommendation.layout import HALF_LIVES_S
from online.records import NO_BECAUSE, Begin, Decision, Event, Record, pack_floats
from online.rows import find_row
from online.settings import Settings, settings_text
from online.state import State

SETTINGS = Settings()
AT_MS = 1_700_000_000_000
USERS, TAKES = 200, 600


def folded(records: list[Record]) -> State:
    state = State(SETTINGS, None)
    begin = Begin(1, "", 0, settings_text(SETTINGS), 0)
    Fold(state).entries(list(enumerate([begin, *records], start=1)))
    return state


def share(state: State, item_id: str) -> np.ndarray:
    """Of popularity at each half-life."""
    row = int(find_row(state.views.items, np.uint64(hash64(item_id))))
    found: np.ndarray = state.arrays["items.heat"][row] / state.arrays["popularity.total"]
    return found


def slates() -> list[Record]:
    """Many users, each of whom takes one of the three items that are shown; half of the takes are of ten items."""
    records: list[Record] = []
    for k in range(TAKES):
        item, user, at_ms = f"i{k % 10 if k % 2 else k % 97}", f"u{k % USERS}", AT_MS + 1_000 * k
        records.append(
            Decision(
                decision_id=f"d{k}",
                user_id=user,
                at_ms=at_ms,
                received_ms=at_ms,
                read_position=0,
                arm=0,
                n=3,
                item_ids=(item, "i0", "i1") if item not in ("i0", "i1") else ("i0", "i1", "i2"),
                scores=pack_floats([0.0] * 3),
                propensities=pack_floats([0.5] * 3),
                because=NO_BECAUSE * 3,
            )
        )
        records.append(Event(f"e{k}", "click", user, item, at_ms + 500, 0, decision_id=f"d{k}"))
    return records


def pushes(users: int, times: int) -> list[Record]:
    """Reports of one title, without a slate."""
    return [
        Event(f"p{user}-{k}", "click", f"liar{user}", "pushed", AT_MS + 1_000 * TAKES + 10 * k, 0)
        for k in range(times)
        for user in range(users)
    ]


def test_a_thing_that_one_reports_a_hundred_times_is_as_popular_as_if_reported_once() -> None:
    once, often = folded([*slates(), *pushes(1, 1)]), folded([*slates(), *pushes(1, 100)])
    assert np.allclose(share(often, "pushed"), share(once, "pushed"), rtol=1e-3)


def test_where_things_are_found_in_slates_few_who_report_without_one_do_not_say_what_is_popular() -> None:
    """10 of 210 users, 20 reports each: less than 5 % of what is popular, not nearly all of it."""
    found = share(folded([*slates(), *pushes(10, 20)]), "pushed")
    assert found[-1] < 0.05, found
    assert share(folded(slates()), "i3")[-1] > 0.04, "what many take out of slates is"


def test_where_nothing_is_shown_a_take_counts_whole() -> None:
    events: list[Record] = [Event(f"e{k}", "click", f"u{k}", f"i{k % 7}", AT_MS, 0) for k in range(70)]
    state = folded(events)
    one = 2.0 ** ((AT_MS - state.arrays["popularity.origin_ms"][-1]) / (HALF_LIVES_S[-1] * 1_000.0))
    assert np.allclose(state.arrays["popularity.total"][-1], 70.0 * one)
    assert state.arrays["takes.takes"].tolist() == [70.0, 0.0]
