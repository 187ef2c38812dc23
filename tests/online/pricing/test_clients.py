"""What a client may teach a market: as much as the bookings that it keeps vouch for; whole where it is alone."""

import random
from collections.abc import Sequence

import numpy as np
import pytest

from online.chance import hash64
from online.pricing.clients import client_weight
from online.pricing.demand import logit_gradient, set_input
from online.pricing.features import overlay
from online.pricing.layout import CLIENTS, FEATURES_MAX
from online.pricing.records import BOOKED, DECLINED, Cancellation, FlightUpsert, Quote, QuoteOutcome
from online.pricing.settings import Settings as PricingSettings
from online.records import Act, Record
from online.settings import Settings
from online.state import State
from tests.online.pricing.test_pricing_fold import DAY_MS, START_MS, folded, quote

DAYS, HOUR_MS = 40, 3_600_000
ROOM = 1_000  # seats: none of these markets sells out


def flight(days: int = DAYS + 5) -> FlightUpsert:
    return FlightUpsert("f", 0, "AAA-BBB", START_MS + days * DAY_MS, ROOM, "EUR", 5_000, 40_000)


Said = Quote | QuoteOutcome | Cancellation


def asked(name: str, client: str, at_ms: int, books: bool) -> list[Said]:
    """A question with its answer."""
    said = QuoteOutcome(name, "f", BOOKED if books else DECLINED, at_ms + 1_000, 0, client)
    return [quote(name, at_ms=at_ms, fare_cents=14_000, client=client), said]


def honest(
    clients: list[str], *, a_day: int = 12, chance: float = 0.3, since: int = 0, until: int = DAYS, seed: int = 1
) -> list[Said]:
    """Travellers of these clients, some of whom book."""
    draws, found = random.Random(seed), []
    for day in range(since, until):
        for k in range(a_day):
            at_ms = START_MS + day * DAY_MS + k * 2 * HOUR_MS
            found += asked(f"{day}-{k}", draws.choice(clients), at_ms, draws.random() < chance)
    return found


def with_lies(records: list[Said], client: str, times: int, *, gives_back: bool = False) -> list[Said]:
    """Before every question of somebody else, from the fifth day on, so many of one that never keeps a booking."""
    found: list[Said] = []
    for record in records:
        if isinstance(record, Quote) and record.at_ms >= START_MS + 4 * DAY_MS:
            for k in range(times):
                name, at_ms = f"{client}-{record.quote_id}-{k}", record.at_ms - HOUR_MS + 60_000 * k
                found += asked(name, client, at_ms, gives_back)
                if gives_back:
                    found.append(Cancellation(name, "f", at_ms + 2_000, 0, client))
        found.append(record)
    return found


def learned(records: Sequence[Record], **changed: float) -> State:
    pricing = PricingSettings(quotes_max=1_024, flights_max=64, markets_max=8, claims_max=4_096, **changed)
    return folded([flight(), *records], settings=Settings(decisions_max=64, slots_max=3_200, pricing=pricing))


def told(record: Said, at_ms: int, what: int | None = None) -> Said:
    """An outcome, told otherwise or at another time; anything else as it is."""
    if not isinstance(record, QuoteOutcome):
        return record
    said = record.outcome if what is None else what
    return QuoteOutcome(record.quote_id, record.flight_id, said, at_ms, 0, record.client)


def weight(state: State, client: str) -> float:
    return float(client_weight(state.views.pricing, 0, np.uint64(hash64(client))))


def chance_to_book(state: State) -> np.ndarray:
    """What is thought of a traveller, 40, 25 and 10 days before departure, at the fare that all were shown."""
    p, found = state.views.pricing, []
    overlay(p, 0, np.full(FEATURES_MAX, np.nan))
    for days in (40.0, 25.0, 10.0):
        set_input(p, 0, 0, days)
        ratio = 14_000 / float(p.markets.reference_cents[0]) - 1.0
        found.append(logit_gradient(p.trunk, p.markets.mean[0], p.scratch.input, ratio, p.scratch.slope))
    return np.array(found)


def test_a_client_that_is_alone_teaches_whole_whatever_it_says() -> None:
    """To the bit as if nobody counted who asks, also where it books nothing at all."""
    for chance in (0.3, 0.0):
        named, unbounded = (
            learned(honest(["shop"], chance=chance), **changed) for changed in ({}, {"client_free_bookings": 1e12})
        )
        for name in ("mean", "precision", "covariance", "level", "window_shape", "drift", "dispersion"):
            mine, theirs = (getattr(state.views.pricing.markets, name)[0] for state in (named, unbounded))
            assert mine.tobytes() == theirs.tobytes(), name
        assert weight(named, "shop") == 1.0


@pytest.mark.parametrize("times", [1, 5])
def test_whoever_asks_often_and_keeps_no_booking_hardly_moves_a_market(times: int) -> None:
    clients = [f"agency-{k}" for k in range(8)]
    clean = honest(clients)
    without, bounded = learned(clean), learned(with_lies(clean, "liar", times))
    unbounded = learned(with_lies(clean, "liar", times), client_free_bookings=1e12)
    assert weight(bounded, "liar") < 0.05
    assert all(weight(bounded, client) == 1.0 for client in clients)
    truth, held, lied = (chance_to_book(state) for state in (without, bounded, unbounded))
    assert (np.abs(held - truth) < 0.4 * np.abs(lied - truth)).all(), (truth, held, lied)
    came = [float(state.views.pricing.flights.arrived[0]) for state in (without, bounded, unbounded)]
    assert came[1] - came[0] < 0.15 * came[0] <= 0.17 * (came[2] - came[0]), came


def test_what_it_can_teach_does_not_grow_with_how_often_it_asks() -> None:
    clean = honest(["one", "two"])
    came = [float(learned(with_lies(clean, "liar", times)).views.pricing.flights.arrived[0]) for times in (0, 2, 6)]
    assert came[2] - came[0] < 1.5 * (came[1] - came[0]), came
    assert came[2] - came[0] < 0.25 * came[0], came


def test_a_booking_that_is_given_back_vouches_for_nothing() -> None:
    clean = honest(["one", "two", "three"])
    state = learned(with_lies(clean, "liar", 1, gives_back=True))
    assert weight(state, "liar") < 0.1
    assert min(weight(state, client) for client in ("one", "two", "three")) == 1.0
    unbounded = learned(with_lies(clean, "liar", 1, gives_back=True), client_free_bookings=1e12)
    cancelled = [float(one.views.pricing.markets.cancel[0, 0]) for one in (learned(clean), state, unbounded)]
    assert cancelled[1] - cancelled[0] < 0.2 * (cancelled[2] - cancelled[0]), cancelled


def test_an_honest_client_with_nearly_all_of_the_traffic_counts_whole() -> None:
    """Nine of ten questions are one's; some of the others never book, and that is held against nobody else."""
    records = honest(["shop"] * 18 + ["small", "looker"])
    state = learned([told(one, one.at_ms, DECLINED) if one.client == "looker" else one for one in records])
    assert weight(state, "shop") == weight(state, "small") == 1.0


def test_where_everybody_books_less_nobody_is_held_to_lie() -> None:
    """A market that breaks away: from 30 % to 5 %."""
    before = honest(["one", "two", "three"], until=DAYS // 2)
    after = honest(["one", "two", "three"], chance=0.05, since=DAYS // 2, seed=2)
    state = learned([*before, *after])
    assert min(weight(state, client) for client in ("one", "two", "three")) > 0.9


def test_a_booking_that_is_told_late_vouches_as_well() -> None:
    """Told a day after each question, when silence had been taken for a "no"."""
    records = honest(["one", "late"])
    late = [told(record, record.at_ms + DAY_MS) if record.client == "late" else record for record in records]
    state = learned(sorted(late, key=lambda record: record.at_ms))
    assert weight(state, "late") > 0.9
    assert weight(state, "one") == 1.0


def test_more_clients_than_a_market_remembers_push_out_the_least() -> None:
    clean = with_lies(honest([f"agency-{k}" for k in range(2 * CLIENTS)], until=20), "liar", 2)
    state = learned(clean)
    assert np.count_nonzero(state.views.pricing.markets.client[0]) == CLIENTS
    assert weight(state, "liar") < 0.1


def test_what_is_forgotten_of_a_market_is_forgotten_of_its_clients() -> None:
    """A liar that stops is believed again some day."""
    lies = with_lies(honest(["one", "two"], until=10), "liar", 3)
    on = honest(["one", "two"], a_day=4, since=10)
    assert weight(learned([*lies, *on]), "liar") > weight(learned(lies), "liar")


def test_frozen_nothing_is_counted_of_clients() -> None:
    records = honest(["one", "two"], until=5)
    later = honest(["one", "three"], since=6, until=10)
    state, frozen = learned(records), learned([*records, Act("freeze", "r", 0), *later])
    for name in ("client", "client_expected", "client_kept"):
        mine, theirs = (getattr(one.views.pricing.markets, name)[0] for one in (state, frozen))
        assert mine.tobytes() == theirs.tobytes(), name
