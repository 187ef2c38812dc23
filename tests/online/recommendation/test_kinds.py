"""What descriptions say about items: how much more often than everybody a user takes a kind."""

from math import log2
from typing import Any

import numpy as np
import pytest

from online.chance import hash64
from online.fold import Fold
from online.recommendation.decide import Decider, Request
from online.recommendation.kinds import describe_kinds, kind_names, kinship_of, set_kinship
from online.recommendation.layout import KINDS, KINDS_MAX
from online.records import Act, Begin, Event, ItemUpsert, Record
from online.rows import find_row
from online.settings import Settings, settings_text
from online.state import State

START_MS = 1_700_000_000_000
GENRES = ("film", "sport", "kids")


def grown(settings: Settings, *, takes: int = 600) -> tuple[State, Fold, int]:
    """30 items of three genres; each of 30 users takes of one genre only, all that is in it."""
    records: list[Record] = [Begin(1, "", settings.seed, settings_text(settings), 0)]
    records += [ItemUpsert(f"i{k}", START_MS, features={"genre": GENRES[k % 3], "minutes": k}) for k in range(30)]
    for k in range(takes):
        user = k % 30
        item = 3 * ((k // 30 + user) % 10) + user % 3
        at_ms = START_MS + 60_000 * (k + 1)
        records.append(Event(f"e{k}", "play", f"u{user}", f"i{item}", at_ms, at_ms))
    state = State(settings, None)
    fold = Fold(state)
    fold.entries(list(enumerate(records, start=1)))
    return state, fold, len(records)


def kinship(state: State, user: str) -> dict[str, float]:
    learners = state.views.learners
    row = int(find_row(state.views.users, np.uint64(hash64(user))))
    set_kinship(learners.kinds, learners.items, learners.users, row, learners.scratch.kinship)
    known = learners.kinds.key[: int(learners.kinds.known[0])].tolist()
    return {
        genre: float(learners.scratch.kinship[known.index(hash64(f"genre={genre}"))])
        for genre in GENRES
        if hash64(f"genre={genre}") in known
    }


def test_kinship_is_the_logarithm_of_how_much_more_often_than_everybody_a_user_takes_a_kind() -> None:
    state, _, _ = grown(Settings())
    found = kinship(state, "u0")
    taken = min(600 // 30, 32)
    whole = sum(1.0 / (1.0 + 0.05 * lag) for lag in range(taken))
    of_all = 1.0 / 3.0
    liked = (whole + 3.0 * of_all) / (whole + 3.0)
    other = 3.0 * of_all / (whole + 3.0)
    assert found["film"] == pytest.approx(log2((liked + 0.01) / (of_all + 0.01)), abs=1e-3)
    assert found["sport"] == found["kids"] == pytest.approx(log2((other + 0.01) / (of_all + 0.01)), abs=1e-3)


def test_an_item_that_nobody_took_is_shown_first_to_those_who_take_its_kind() -> None:
    settings = Settings(exploration=0.0, champion_share=0.0)
    state, fold, position = grown(settings)
    new = [ItemUpsert(f"new-{genre}", START_MS + 10**8, features={"genre": genre}) for genre in GENRES]
    fold.entries(list(enumerate(new, start=position + 1)))
    candidates = tuple(f"new-{genre}" for genre in GENRES)
    for user in range(9):
        asked = Request(f"d{user}", f"u{user}", 3, START_MS + 10**8 + 1, candidates=candidates)
        slate = Decider(settings).decide(state.views, None, asked)
        assert state.item_id(slate.rows[0]) == f"new-{GENRES[user % 3]}"


def test_who_is_unknown_and_what_is_not_described_have_no_kinship() -> None:
    state, fold, position = grown(Settings())
    assert set(kinship(state, "nobody").values()) == {0.0}
    fold.entries([(position + 1, ItemUpsert("bare", START_MS))])
    kinship(state, "u0")
    learners = state.views.learners
    row = state.item_row(hash64("bare"))
    assert float(kinship_of(learners.scratch.kinship, learners.items.kind, row)) == 0.0


def test_texts_and_lists_of_texts_are_kinds_and_the_last_description_holds() -> None:
    state, fold, position = grown(Settings(), takes=1)
    features: dict[str, Any] = {"tags": ["a", "b", "c", "d", "e"], "genre": "film", "year": 1999, "live": True}
    assert list(kind_names(features)) == ["genre=film", "tags=a", "tags=b", "tags=c", "tags=d", "tags=e"]
    fold.entries([(position + 1, ItemUpsert("i0", START_MS, features=features))])
    kinds, items = state.views.learners.kinds, state.views.learners.items
    row = state.item_row(hash64("i0"))
    held = [int(kinds.key[k]) for k in items.kind[row]]
    assert held == [hash64(name) for name in ("genre=film", "tags=a", "tags=b", "tags=c")] and len(held) == KINDS
    fold.entries([(position + 2, ItemUpsert("i0", START_MS))])
    assert (items.kind[row] == -1).all()


def test_more_kinds_than_there_is_room_for_are_not_kept_and_break_nothing() -> None:
    state, _, _ = grown(Settings(), takes=1)
    kinds, items = state.views.learners.kinds, state.views.learners.items
    for k in range(KINDS_MAX + 50):
        describe_kinds(kinds, items, 0, {"sku": str(k)})
    assert int(kinds.known[0]) == KINDS_MAX and (items.kind[0] == -1).all()
    describe_kinds(kinds, items, 0, {"sku": "0"})
    assert items.kind[0, 0] >= 0


def test_a_description_while_learning_is_frozen_is_taken_and_moves_no_parameter() -> None:
    state, fold, position = grown(Settings())
    fold.entries([(position + 1, Act(act="freeze", reason="a test", received_ms=START_MS))])
    before = {name: array.tobytes() for name, array in state.parameters().items()}
    fold.entries([(position + 2, ItemUpsert("i0", START_MS, features={"genre": "opera"}))])
    after = state.parameters()
    row = state.item_row(hash64("i0"))
    assert state.views.learners.items.kind[row, 0] >= 3
    assert all(before[name] == array.tobytes() for name, array in after.items())
