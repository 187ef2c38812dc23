"""The laws of pricing's fold: one log, one digest; a seat counted once; a quote answered once."""

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from online.fold import Fold
from online.frame import COUNTERS
from online.live import LiveModel
from online.pricing import selling
from online.pricing.quote import FareDecider, decided_again
from online.pricing.records import BOOKED, DECLINED, Cancellation, FlightUpsert, Quote, QuoteOutcome, Tick
from online.pricing.settings import Settings as PricingSettings
from online.publication import SERVED, Publisher
from online.records import Act, Begin, Record
from online.settings import Settings, settings_text
from online.state import COLUMN_BY_NAME, COLUMNS, State
from online.views import bind, read_only

SETTINGS = Settings(
    decisions_max=64,
    slots_max=3_200,
    event_ids_max=64,
    pricing=PricingSettings(quotes_max=256, flights_max=64, markets_max=8, claims_max=4_096),
)
START_MS = 1_750_000_000_000
DAY_MS = 86_400_000


def flight(name: str, market: str = "AAA-BBB", capacity: int = 5, days: int = 30, **fields: object) -> FlightUpsert:
    return FlightUpsert(name, 0, market, START_MS + days * DAY_MS, capacity, "EUR", 5_000, 40_000, **fields)


def quote(name: str, of: str = "f", at_ms: int = START_MS, fare_cents: int = 12_000, **fields: object) -> Quote:
    expires = at_ms + 900_000
    return Quote(name, of, at_ms, at_ms, 1, fare_cents, expires, **fields)


def outcome(name: str, of: str = "f", what: int = BOOKED, at_ms: int = START_MS + 1_000) -> QuoteOutcome:
    return QuoteOutcome(name, of, what, at_ms, at_ms)


def folded(records: list[Record], cuts: tuple[int, ...] = (), settings: Settings = SETTINGS) -> State:
    state = State(settings, None)
    entries = list(enumerate([Begin(1, "", 0, settings_text(settings), 0), *records], start=1))
    fold = Fold(state)
    for first, last in pairwise([0, *sorted(set(cuts)), len(entries)]):
        fold.entries(entries[first:last])
    return state


def counted(state: State) -> dict[str, int]:
    return dict(zip(selling.COUNTERS, map(int, state.views.selling.counters), strict=True))


def accounting(state: State) -> dict[str, int]:
    return dict(zip(COUNTERS, map(int, state.views.frame.counters), strict=True))


def journey(seed: int, length: int) -> Iterator[Record]:
    """Records of every kind about a few flights, over weeks of event time: what a server might have granted."""
    chance = random.Random(seed)
    now_ms = START_MS
    capacity = {f"f{k}": chance.randint(2, 6) for k in range(6)}
    taken: dict[str, set[str]] = {name: set() for name in capacity}
    held: dict[str, dict[str, int]] = {name: {} for name in capacity}
    quoted: list[Quote] = []
    for k, name in enumerate(capacity):
        yield flight(name, f"M{k % 3}", capacity[name], days=20 + 3 * k, features={"peak": float(k % 2)})
    for k in range(length):
        now_ms += chance.choice((1_000, 60_000, 3_600_000, 20_000_000))
        name = chance.choice(list(capacity))
        held[name] = {q: until for q, until in held[name].items() if until >= now_ms}
        free = capacity[name] - len(taken[name]) - len(held[name])
        drawn = chance.random()
        if drawn < 0.5:
            features = chance.choice((None, {"saturday_stay": 1.0}, {"saturday_stay": 0.0, "ask": 3.5}))
            if free < 1:
                yield quote(f"q{k}", name, now_ms, -1, features=features)
                continue
            hold_until = now_ms + 7_200_000 if chance.random() < 0.2 else 0
            fare = chance.choice((9_000, 15_000, 22_000))
            told = {"hold_until_ms": hold_until, "features": features, "client": f"c{k % 3}"}
            quoted.append(quote(f"q{k}", name, now_ms, fare, **told))
            if hold_until:
                held[name][f"q{k}"] = hold_until
            yield quoted[-1]
        elif drawn < 0.9 and quoted:
            asked = chance.choice(quoted[-8:])
            of = asked.flight_id
            held[of] = {q: until for q, until in held[of].items() if until >= now_ms}
            free = capacity[of] - len(taken[of]) - len(held[of])
            booked = chance.random() < 0.5 and asked.quote_id not in taken[of]
            if booked and (free > 0 or asked.quote_id in held[of]):
                held[of].pop(asked.quote_id, None)
                taken[of].add(asked.quote_id)
                yield outcome(asked.quote_id, of, BOOKED, now_ms)
            elif asked.quote_id not in taken[of]:
                held[of].pop(asked.quote_id, None)
                yield outcome(asked.quote_id, of, DECLINED, now_ms)
        elif drawn < 0.94 and taken[name]:
            gone = chance.choice(sorted(taken[name]))
            taken[name].remove(gone)
            yield Cancellation(gone, name, now_ms, now_ms)
        elif drawn < 0.96:
            yield Act(chance.choice(("freeze", "resume")), "a test", now_ms)
        elif drawn < 0.97:
            yield Act("rules", "a test", now_ms, arguments='{"put":[{"fare_cents":9000,"kind":"floor","rule_id":"r"}]}')
        elif drawn < 0.98:
            yield Tick(now_ms, 4)
        else:
            yield flight(name, f"M{int(name[1:]) % 3}", capacity[name], days=20 + 3 * int(name[1:]))


@pytest.mark.parametrize("seed", [1, 2])
def test_however_the_log_is_cut_the_state_is_the_same(seed: int) -> None:
    records = list(journey(seed, 300))
    whole = folded(records)
    assert whole.digest() == folded(records, cuts=tuple(range(1, len(records), 7))).digest()
    assert whole.digest() == folded(records, cuts=tuple(range(1, len(records)))).digest()
    counts, frame = counted(whole), accounting(whole)
    assert counts["seats_beyond_capacity"] == 0
    assert frame["received"] == sum(frame[name] for name in ("applied", "duplicate", "late", "rejected")) > 50
    assert min(counts[name] for name in ("quotes", "booked", "declined", "expired", "cancelled", "solved")) > 0


def test_a_state_that_was_kept_and_taken_up_again_goes_on_as_the_one_that_was_not() -> None:
    records = list(journey(3, 240))
    entries = list(enumerate([Begin(1, "", 0, settings_text(SETTINGS), 0), *records], start=1))
    whole = folded(records)
    for cut in (1, 7, 100, 200):
        first = State(SETTINGS, None)
        Fold(first).entries(entries[:cut])
        second = State(SETTINGS, None)
        second.load({name: array.copy() for name, array in first.canonical()})
        assert second.digest() == first.digest()
        Fold(second).entries(entries[cut:])
        assert second.digest() == whole.digest()


def test_seats_are_the_capacity_less_what_is_booked_and_held() -> None:
    records: list[Record] = [
        flight("f", capacity=3),
        quote("a", hold_until_ms=START_MS + 60_000),
        quote("b"),
        outcome("b"),
        outcome("a", at_ms=START_MS + 50_000),
        Cancellation("b", "f", START_MS + 55_000, 0),
    ]
    left = [3, 2, 2, 1, 1, 2]
    for k, expected in enumerate(left, start=1):
        state = folded(records[:k])
        assert int(state.views.pricing.flights.seats_left[0]) == expected, k


def test_a_hold_ends_with_the_flights_time_and_not_before() -> None:
    held = [flight("f", capacity=2), quote("a", hold_until_ms=START_MS + 60_000), quote("b")]
    at_the_end = folded([*held, outcome("b", at_ms=START_MS + 60_000)])
    assert int(at_the_end.views.pricing.flights.seats_left[0]) == 0
    after = folded([*held, outcome("b", at_ms=START_MS + 60_001)])
    assert int(after.views.pricing.flights.seats_left[0]) == 1


def test_silence_is_a_no_when_the_quote_expires_and_no_earlier() -> None:
    """The posterior moves with the first record after the expiry, as it would have by a "no"."""
    asked = [flight("f", capacity=5), quote("a")]
    before = folded([*asked, quote("b", at_ms=START_MS + 900_000, features={"x": 1.0})])
    assert counted(before)["expired"] == 0
    after = folded([*asked, quote("b", at_ms=START_MS + 900_001, features={"x": 1.0})])
    assert counted(after)["expired"] == 1
    said = folded([*asked, outcome("a", what=DECLINED), quote("b", at_ms=START_MS + 900_001, features={"x": 1.0})])
    assert (after.views.pricing.markets.mean[0] == said.views.pricing.markets.mean[0]).all()
    assert (after.views.pricing.markets.mean[0] != before.views.pricing.markets.mean[0]).any()


def test_the_same_question_within_a_minute_is_one_traveller() -> None:
    twice = folded([flight("f"), quote("a"), quote("b", at_ms=START_MS + 59_000), outcome("b", what=DECLINED)])
    once = folded([flight("f"), quote("b", at_ms=START_MS), outcome("b", what=DECLINED)])
    assert counted(twice)["repeated"] == 1
    # The first request begins the time in which others are counted.
    assert float(twice.views.pricing.flights.arrived[0]) == float(once.views.pricing.flights.arrived[0]) == 0.0
    later = folded([flight("f"), quote("a"), quote("b", at_ms=START_MS + 60_000)])
    other = folded([flight("f"), quote("a"), quote("b", at_ms=START_MS + 59_000, features={"saturday_stay": 1.0})])
    answered = folded([flight("f"), quote("a"), outcome("a", what=DECLINED), quote("b", at_ms=START_MS + 59_000)])
    for state in (later, other, answered):
        assert counted(state)["repeated"] == 0
        assert float(state.views.pricing.flights.arrived[0]) == 1.0


def test_a_request_that_found_nothing_for_sale_teaches_arrivals_only() -> None:
    state = folded([flight("f", capacity=1), quote("a", fare_cents=-1), quote("b", at_ms=START_MS + 9_000_000)])
    fresh = folded([flight("f", capacity=1), quote("b", at_ms=START_MS + 9_000_000)])
    assert float(state.views.pricing.flights.arrived[0]) == 1.0
    assert (state.views.pricing.markets.mean[0] == fresh.views.pricing.markets.mean[0]).all()


def test_an_outcome_that_is_sent_twice_is_learned_once() -> None:
    once = folded([flight("f"), quote("a"), outcome("a", what=DECLINED)])
    twice = folded([flight("f"), quote("a"), outcome("a", what=DECLINED), outcome("a", what=DECLINED)])
    assert (once.views.pricing.markets.mean[0] == twice.views.pricing.markets.mean[0]).all()
    assert accounting(twice)["duplicate"] == 1


def test_frozen_nothing_shared_moves_and_seats_still_do() -> None:
    asked = [flight("f"), quote("a"), outcome("a", what=DECLINED)]
    frozen = [Act("freeze", "r", 0), quote("b", at_ms=START_MS + 5 * DAY_MS), outcome("b", at_ms=START_MS + 5 * DAY_MS)]
    before, after = folded(asked), folded([*asked, *frozen])
    for name in ("mean", "precision", "window_shape", "window_rate", "level", "cancel"):
        moved = getattr(after.views.pricing.markets, name)[0] != getattr(before.views.pricing.markets, name)[0]
        assert not moved.any(), name
    assert int(after.views.pricing.flights.seats_left[0]) == 4


def test_full_tables_give_back_what_leaves_first() -> None:
    many = [flight(f"g{k}", capacity=2, days=k + 1) for k in range(100)]
    state = folded([*many, quote("a", "g99")])
    assert state.count("flights") == 64
    assert counted(state)["flights_evicted"] == 36
    assert counted(folded([flight(f"g{k}", f"M{k}") for k in range(10)]))["flights_refused"] == 2
    busy = [quote(f"q{k}", "g99", START_MS + k) for k in range(300)]
    state = folded([flight("g99", capacity=9), *busy], settings=SETTINGS)
    assert counted(state)["quotes"] == 300


def test_workers_see_flights_fares_and_rules_as_they_are_after_every_publication(tmp_path: Path) -> None:
    records = [Begin(1, "", 0, settings_text(SETTINGS), 0), *journey(5, 150)]
    state = State(SETTINGS, None)
    publisher, fold = Publisher(tmp_path / "shared", state), Fold(state)
    model = LiveModel(tmp_path / "shared", SETTINGS, None)
    entries = list(enumerate(records, start=1))
    for first in range(0, len(entries), 3):
        fold.entries(entries[first : first + 3])
        publisher.publish()
        _, arrays = model.front_arrays()
        for column in SERVED:
            assert arrays[column.name].tobytes() == state.arrays[column.name].tobytes(), (first, column.name)
    views = bind(read_only(state.arrays, COLUMN_BY_NAME), SETTINGS)
    for name in ("f0", "f3"):
        asked = {"flight_id": name, "at_ms": START_MS + DAY_MS, "features": {"saturday_stay": 1.0}}
        record, _ = model.pricing.quote(quote_id="q", received_ms=9, **asked)  # type: ignore[arg-type]
        decider = FareDecider(SETTINGS.pricing)
        assert decided_again(views.pricing, views.selling, SETTINGS.pricing, decider, record, "") == record
    publisher.close()


def test_no_two_columns_have_one_name() -> None:
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)
