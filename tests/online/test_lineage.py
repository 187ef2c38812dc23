"""Acts on the past: the state after them is the one that the kept records alone would have given, bit by bit."""

import os
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online.fold import Fold
from online.frame import APPLIED, DUPLICATE, LATE, RECEIVED, REJECTED
from online.history import History, PositionUnknown, Timeline
from online.lineage import Arguments, Cut, Lineage, Lineages, Segment, Sieve, user_key
from online.pricing.settings import Settings as PricingSettings
from online.records import Act, Begin, Erased, Event, Record
from online.refold import refolded
from online.settings import Settings
from online.snapshot import write_snapshot
from online.state import State
from tests.online.pricing.test_pricing_fold import journey
from tests.online.records_in_memory import Records

RULES = Settings(
    attribution_window_s=600,
    event_ids_max=512,
    decisions_max=64,
    slots_max=4_000,
    pricing=PricingSettings(quotes_max=256, flights_max=64, markets_max=8, claims_max=4_096),
)
POSITIONS = ("users.last_position", "items.last_position", "decisions.position")
Entries = list[tuple[int, Record]]


def examples(usual: int) -> int:
    """How many random cases: PERENNIAL_EXAMPLES where it is set (`make torture`)."""
    return int(os.environ.get("PERENNIAL_EXAMPLES", usual))


def act(name: str, act_id: str = "", **arguments: object) -> Act:
    encoded = msgspec.json.encode(Arguments(**arguments), order="sorted").decode()  # type: ignore[arg-type]
    return Act(act=name, reason="a test", received_ms=0, arguments=encoded, act_id=act_id)


def both(make_stream, seed: int, length: int) -> Entries:
    """Slates and fares in one log, half of it each."""
    slates = [record for _, record in make_stream(seed, length // 2, RULES)]
    fares = list(journey(seed, length - len(slates)))
    chance, records = random.Random(seed), slates[:1]
    slates = slates[1:]
    while slates or fares:
        records.append((slates if not fares or (slates and chance.random() < 0.5) else fares).pop(0))
    return list(enumerate(records, start=1))


def with_acts(entries: Entries, seed: int, many: int) -> Entries:
    """The stream with random acts on the past put in, positions anew."""
    chance = random.Random(seed)
    records: list[Record] = [record for _, record in entries]
    for at in sorted(chance.sample(range(20, len(records)), many)):
        to = chance.randrange(1, at)
        drawn = chance.random()
        if drawn < 0.3:
            put = act("rollback", to=to)
        elif drawn < 0.5:
            put = act("resume", meanwhile="learn")
        else:
            cut = Cut(
                users=(user_key(f"u{chance.randrange(20)}"),) if drawn < 0.7 else (),
                events=(f"e{chance.randrange(at)}", f"q{chance.randrange(at)}") if drawn > 0.65 else (),
                positions=((to, to + chance.randrange(40)),) if drawn > 0.8 else (),
            )
            put = act("erase" if 0.5 < drawn < 0.6 else "rollback", to=max(1, to - 30), without=cut)
        records.insert(at, put)
    return list(enumerate(records, start=1))


def kept_by_hand(entries: Entries) -> list[Entries]:
    """What is kept at every position, told plainly: lists of records, one for each position from 0 on."""
    at: list[Entries] = [[]]
    for position, record in entries:
        present = at[-1]
        if isinstance(record, Act) and record.act in ("rollback", "erase"):
            told = msgspec.json.decode(record.arguments, type=Arguments)
            assert told.to is not None
            if told.without:
                sieve = Sieve((told.without,))
                at.append([(p, r) for p, r in present if p <= told.to or not sieve.removes(p, r)])
            else:
                at.append(list(at[told.to]))
        elif isinstance(record, Act) and "learn" in record.arguments:
            frozen = 0
            for p, r in reversed(present):
                if isinstance(r, Act) and r.act in ("freeze", "resume"):
                    if r.act == "resume":
                        break
                    frozen = p
            at.append([(p, r) for p, r in present if not frozen or p < frozen or not is_freeze(r)])
        else:
            at.append([*present, (position, record)])
    return at


def is_freeze(record: Record) -> bool:
    return isinstance(record, Act) and record.act == "freeze"


def run(log: Records, *, snapshots: Path | None = None, cuts: tuple[int, ...] = ()) -> Timeline:
    """The log folded as the learner does it."""
    history = History(log, lambda _: None, snapshots=snapshots)
    timeline = Timeline(history, State(history.settings, None))
    places = [*sorted(cuts), log.head()]
    while timeline.position < log.head():
        until = next(place for place in places if place > timeline.position)
        timeline.entries(log.read(timeline.position, min(97, until - timeline.position), 0))
    return timeline


def folded_with_holes(entries: Entries) -> State:
    state = State(RULES, None)
    Fold(state).entries(entries, holes=True)
    return state


@settings(max_examples=examples(20))
@given(seed=st.integers(0, 2**32), many=st.integers(1, 5), cuts=st.lists(st.integers(1, 250), max_size=4))
def test_after_acts_on_the_past_the_state_is_that_of_a_run_that_saw_only_what_was_kept(
    make_stream, seed: int, many: int, cuts: list[int]
) -> None:
    entries = with_acts(both(make_stream, seed, 250), seed, many)
    log, kept = Records(entries), kept_by_hand(entries)
    timeline = run(log, cuts=tuple(cuts))
    assert timeline.state.digest() == folded_with_holes(kept[-1]).digest()
    assert timeline.position == len(entries)
    counters = timeline.state.views.frame.counters
    assert counters[RECEIVED] == counters[[APPLIED, DUPLICATE, LATE, REJECTED]].sum()
    for state in refolded(log, lambda _: None, [len(entries) // 2, len(entries)]):
        assert state.digest() == folded_with_holes(kept[state.position]).digest()


@settings(max_examples=examples(15))
@given(seed=st.integers(0, 2**32))
def test_surgery_equals_a_run_whose_log_never_had_the_records(make_stream, seed: int) -> None:
    """Not only with holes where they were: the very log without them, positions counted anew."""
    entries = make_stream(seed, 250, RULES)
    cut = Cut(users=(user_key("u3"), user_key("u7")), positions=((40, 55),), events=("e60", "e61"))
    surgery = act("rollback", to=1, without=cut)
    state = run(Records([*entries, (251, surgery)])).state
    sieve = Sieve((cut,))
    kept = [(p, record) for p, record in entries if not sieve.removes(p, record)]
    assert len(kept) < len(entries)
    never = State(RULES, None)
    Fold(never).entries(list(enumerate((record for _, record in kept), start=1)))
    new_place = {0: 0} | {old: new for new, (old, _) in enumerate(kept, start=1)}
    for (name, one), (_, other) in zip(state.canonical(), never.canonical(), strict=True):
        if name in POSITIONS:
            one = np.array([new_place[int(position)] for position in one])
        if name != "frame.position":
            assert one.shape == other.shape and one.tobytes() == other.tobytes(), name


@settings(max_examples=examples(12))
@given(seed=st.integers(0, 2**32), to=st.integers(1, 200), many=st.integers(0, 3))
def test_a_rollback_that_is_rolled_back_gives_the_digest_back(make_stream, seed: int, to: int, many: int) -> None:
    entries = with_acts(both(make_stream, seed, 200), seed, many)
    n = len(entries)
    before = run(Records(entries)).state.digest()
    gone = [*entries, (n + 1, act("rollback", to=to))]
    there = run(Records(entries[:to])).state.digest()
    assert run(Records(gone)).state.digest() == there
    assert run(Records([*gone, (n + 2, act("rollback", to=n))])).state.digest() == before


@settings(max_examples=examples(12))
@given(seed=st.integers(0, 2**32), many=st.integers(1, 4), places=st.lists(st.integers(10, 200), max_size=5))
def test_snapshots_of_any_lineage_shorten_the_way_and_change_nothing(
    make_stream, tmp_path_factory, seed: int, many: int, places: list[int]
) -> None:
    folder: Path = tmp_path_factory.mktemp("snapshots")
    entries = with_acts(both(make_stream, seed, 200), seed, many)
    log = Records(entries)
    plain = run(log).state.digest()
    history = History(log, lambda _: None, snapshots=folder)
    for position in sorted({min(place, len(entries)) for place in places}):
        place = history.state_at(position)
        acts = [known for known in history.lineages.acts if known[0] <= position]
        write_snapshot(folder, place.state, entry=b"", reason="a test", counters={}, lineage=place.lineage, acts=acts)
    travelled = History(log, lambda _: None, snapshots=folder)
    assert travelled.state_at(len(entries)).state.digest() == plain
    assert run(log, snapshots=folder).state.digest() == plain
    near = travelled.state_at(20)
    for position in (50, 120, 180):  # ever further on from the same state
        near = travelled.state_at(position, near=near)
        assert near.state.digest() == History(log, lambda _: None).state_at(position).state.digest()
    assert not travelled.passed_over


def test_resuming_with_what_came_meanwhile_equals_never_having_frozen(make_stream, folded) -> None:
    entries = [e for e in make_stream(41, 300, RULES) if not isinstance(e[1], Act)]
    records = [record for _, record in entries]
    frozen = [*records[:100], act("freeze"), *records[100:], act("resume", meanwhile="learn")]
    state = run(Records(list(enumerate(frozen, start=1)))).state
    kept = [(p, r) for p, r in enumerate(frozen, start=1) if not isinstance(r, Act)]
    assert state.digest() == folded_with_holes(kept).digest()
    skipped = [*frozen[:-1], act("resume")]
    assert run(Records(list(enumerate(skipped, start=1)))).state.digest() != state.digest()


def test_an_act_that_was_overtaken_or_sent_again_or_points_nowhere_is_void() -> None:
    lineages = Lineages("")
    lineages.note(10, act("freeze"))
    assert lineages.note(20, act("rollback", to=5, expected=0)) is None, "it did not know of the freeze"
    assert lineages.note(21, act("rollback", to=5, expected=20, act_id="a")) is not None
    assert lineages.note(22, act("rollback", to=3, act_id="a")) is None
    assert lineages.note(23, act("rollback", to=23)) is None
    assert lineages.note(24, act("rollback")) is None
    assert lineages.void == [20, 22, 23, 24]
    assert lineages.at(30) == Lineage("", (Segment(1, 5), Segment(25, 30)))


def test_erased_records_leave_the_state_of_a_log_that_never_had_them(make_stream) -> None:
    entries = make_stream(5, 250, RULES)
    sieve = Sieve((Cut(users=(user_key("u1"),)),))
    gone = [(p, Erased(record.received_ms) if sieve.removes(p, record) else record) for p, record in entries]
    assert any(isinstance(record, Erased) for _, record in gone)
    kept = [(p, record) for p, record in entries if not sieve.removes(p, record)]
    assert run(Records(gone)).state.digest() == folded_with_holes(kept).digest()


def test_a_time_is_found_in_the_log_and_one_before_it_is_refused(make_stream) -> None:
    entries = make_stream(6, 100, RULES)
    first = entries[0][1]
    assert isinstance(first, Begin)
    times = [record.received_ms if isinstance(record, Event) else None for _, record in entries]
    history = History(Records(entries), lambda _: None)
    for position, time_ms in enumerate(times, start=1):
        if time_ms is not None:
            assert history.position_at(time_ms) >= position
    with pytest.raises(PositionUnknown, match="begins after"):
        history.position_at(-1)
    with pytest.raises(PositionUnknown, match="there is no position 101"):
        history.state_at(101)
