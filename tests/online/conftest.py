"""Made-up streams of records, and the fold of them."""

import random
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest

from online.fold import Fold
from online.records import NO_BECAUSE, Act, Begin, Decision, Event, ItemUpsert, Record, Tally, pack_floats
from online.settings import Settings, settings_text
from online.state import State

Entries = list[tuple[int, Record]]


def stream(
    seed: int, length: int, settings: Settings, *, users: int = 20, items: int = 30, duplicates: float = 0.05
) -> Entries:
    """`length` records of every kind, with retries, unknown decisions, feedback in and after its window."""
    chance = random.Random(seed)
    records: list[Record] = [Begin(1, "", settings.seed, settings_text(settings), 0)]
    decided: list[Decision] = []
    now_ms = 1_700_000_000_000
    for k in range(length - 1):
        now_ms += chance.choice((0, 1, 500, 20_000, 120_000))
        user, drawn = f"u{chance.randrange(users)}", chance.random()
        context = {"device": chance.choice(("tv", "phone"))} if chance.random() < 0.5 else None
        if drawn < 0.2:
            n = chance.randint(1, 5)
            shown = tuple(f"i{chance.randrange(items)}" for _ in range(n))
            decided.append(
                Decision(
                    decision_id=f"d{k}",
                    user_id=user,
                    at_ms=now_ms,
                    received_ms=now_ms,
                    read_position=k,
                    arm=k % 2,
                    n=n,
                    item_ids=shown,
                    scores=pack_floats([0.0] * n),
                    propensities=pack_floats([0.5] * n),
                    because=NO_BECAUSE * n,
                    context=context,
                )
            )
            records.append(decided[-1])
        elif drawn < 0.23:
            records.append(ItemUpsert(item_id=f"i{chance.randrange(items)}", received_ms=now_ms, title=f"title {k}"))
        elif drawn < 0.25:
            records.append(Tally(received_ms=now_ms, duplicate=chance.randrange(3), rejected=chance.randrange(3)))
        elif drawn < 0.26:
            records.append(Act(act=chance.choice(("freeze", "resume")), reason="a test", received_ms=now_ms))
        else:
            answers = chance.choice(decided) if decided and chance.random() < 0.5 else None
            again = chance.random() < duplicates
            records.append(
                Event(
                    event_id=f"e{chance.randrange(k + 1)}" if again else f"e{k}",
                    event_type=chance.choice(("click", "watch", "like", "dislike", "rating", "search")),
                    user_id=answers.user_id if answers else user,
                    item_id=chance.choice(answers.item_ids) if answers else f"i{chance.randrange(items)}",
                    at_ms=now_ms,
                    received_ms=now_ms,
                    value=chance.choice((None, 0.1, 0.9, 5.0)),
                    decision_id=answers.decision_id if answers else ("d-unknown" if chance.random() < 0.05 else None),
                    context=context,
                )
            )
    return list(enumerate(records, start=1))


def fold_in_batches(settings: Settings, entries: Entries, cuts: Iterable[int] = ()) -> State:
    """A fresh state folded over `entries`, cut at the given places."""
    state = State(settings, None)
    fold = Fold(state)
    places = [0, *sorted(set(cuts)), len(entries)]
    for first, last in pairwise(places):
        fold.entries(entries[first:last])
    return state


@pytest.fixture(scope="session")
def make_stream() -> Callable[..., Entries]:
    return stream


@pytest.fixture(scope="session")
def folded() -> Callable[..., State]:
    return fold_in_batches
