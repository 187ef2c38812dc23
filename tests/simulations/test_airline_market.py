"""The airline market: customers who do not depend on who sells, an optimum that is one, and sellers beside it."""

import csv

import numpy as np
import pytest

from online.pricing.settings import Settings
from simulations.airline_driver import KernelSeller
from simulations.airline_history import PastRule, past, write_bookings
from simulations.airline_market import DAYS, SLOTS, draw_market, draw_routes, play
from simulations.airline_optimum import Optimum, fluid_bound_cents, slot_of
from simulations.airline_sellers import Emsr, Rule, open_class
from simulations.replay_pricing import NothingToReplay, replay_pricing


def market(seed=3, *, routes=3, per_route=8, drift="none"):
    return draw_market(
        routes=draw_routes(routes, seed), flights_per_route=per_route, seed=seed, drift=drift, calendar_days=50
    )


@pytest.fixture(scope="module")
def optimum():
    best = Optimum()
    return best, play(market(), best)


def test_the_same_seed_is_the_same_market_and_another_is_not(optimum):
    again = play(market(), Optimum())
    np.testing.assert_array_equal(again.revenue_cents, optimum[1].revenue_cents)
    other = play(market(seed=4), PastRule(1))
    assert other.requests.tolist() != again.requests.tolist()


def test_the_same_customers_come_to_every_seller(optimum):
    for seller in (PastRule(1), Emsr(marginal=True), Rule(np.full((3, 4), 0.3)), KernelSeller()):
        assert play(market(), seller).requests.tolist() == optimum[1].requests.tolist()


def test_the_optimum_takes_what_it_expects():
    best, expected, took, deviation = Optimum(), 0.0, 0.0, 0.0
    for seed in range(3):
        m = draw_market(routes=draw_routes(2, 9), flights_per_route=30, seed=seed, calendar_days=40)
        best = Optimum()
        revenue = play(m, best).revenue_cents
        apart = revenue - np.array([best.expected_cents[n] for n in range(len(m.flights))])
        expected, took = expected + sum(best.expected_cents.values()), took + revenue.sum()
        deviation += float((apart**2).sum())
    assert abs(took - expected) < 3.0 * np.sqrt(deviation)  # 180 flights: about 2 % of what was expected
    assert np.sqrt(deviation) < 0.02 * expected


def test_nobody_beats_the_optimum_and_it_stays_below_the_fluid_bound(optimum):
    best, took = optimum
    m = market()
    bound = sum(
        fluid_bound_cents(m.truth(n), m.routes[f.route].ladder_cents, m.routes[f.route].capacity)
        for n, f in enumerate(m.flights)
    )
    assert sum(best.expected_cents.values()) < 1.03 * bound
    for seller in (PastRule(1), Emsr(marginal=False), Emsr(marginal=True), Rule(np.full((3, 4), 0.3)), KernelSeller()):
        assert play(m, seller).revenue_cents.sum() < 1.02 * took.revenue_cents.sum()


def test_the_kernels_learn_a_market_that_nobody_told_them_of(optimum):
    live = KernelSeller()
    took = play(market(), live)
    assert took.revenue_cents.sum() > 0.90 * optimum[1].revenue_cents.sum()
    again = KernelSeller()
    np.testing.assert_array_equal(play(market(), again).revenue_cents, took.revenue_cents)
    for name, array in live.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)


def test_a_frozen_seller_learns_nothing():
    frozen = KernelSeller(learns=False, settings=Settings(exploration=0.0))
    play(market(), frozen)
    pool = frozen.arrays["pool.mean"][0]
    for row in frozen.row.values():
        assert np.isfinite(frozen.arrays["markets.mean"][row]).all()
        np.testing.assert_allclose(frozen.arrays["markets.mean"][row], pool)
        assert frozen.arrays["markets.contexts"][row].sum() == 0


@pytest.mark.parametrize("drift", ["jump", "boom", "trend"])
def test_drift_moves_demand_from_its_day_on(drift):
    calm, moved = market(), market(drift=drift)
    before = moved.drift_day - (moved.flights[0].departure_day - DAYS)  # days of the first flight's sale
    assert 0 < before < DAYS
    first, then = calm.truth(0).probability, moved.truth(0).probability
    np.testing.assert_array_equal(first[:before], then[:before])
    assert (first[before + 5 :] != then[before + 5 :]).any()
    late = max(range(len(moved.flights)), key=lambda n: moved.flights[n].departure_day)
    assert (calm.truth(late).probability[-1] != moved.truth(late).probability[-1]).any()
    assert (moved.truth(late).probability[..., 1:] <= moved.truth(late).probability[..., :-1]).all()


def test_more_saturday_stays_among_leisure_and_the_published_share_of_all():
    truth = market().truth(0)
    assert (truth.stays[:, 0] > truth.stays[:, 1]).all()
    np.testing.assert_allclose(truth.stay[:30], 0.51, atol=0.12)


def test_slots_count_from_the_first_day_of_sale():
    departs = 1_800_000_000_000
    slot_ms = 86_400_000 // SLOTS
    begins = departs - DAYS * SLOTS * slot_ms
    assert slot_of(departs, begins) == 0
    assert slot_of(departs, begins + slot_ms // 2) == 0
    assert slot_of(departs, departs - 1) == DAYS * SLOTS - 1


def test_emsr_keeps_more_seats_from_cheaper_classes():
    m = market()
    truth, route = m.truth(0), m.routes[m.flights[0].route]
    rungs = np.unique(np.round(np.linspace(0, len(route.ladder_cents) - 1, 8)).astype(int))
    kept = open_class(truth, 0, rungs, route.ladder_cents, False)
    assert (np.diff(kept) <= 1e-9).all() and kept[-1] == 0.0


def test_the_log_of_the_past_is_what_pretrain_reads(tmp_path):
    m = market()
    took = past(m, 1)
    rows = write_bookings(tmp_path / "b.csv", m, took)
    assert rows == len(took.rows) > 500
    with (tmp_path / "b.csv").open() as file:
        first = next(csv.DictReader(file))
    assert set(first) >= {"flight_id", "market", "departs_at", "asked_at", "fare_cents", "booked", "feature_peak"}
    assert sum(row[3] for row in took.rows) == took.booked.sum()


def test_replay_predicts_before_it_learns_and_ends_in_one_state(tmp_path):
    m = market()
    write_bookings(tmp_path / "b.csv", m, past(m, 1))
    found = replay_pricing(tmp_path / "b.csv", quiet=True)
    again = replay_pricing(tmp_path / "b.csv", quiet=True)
    assert found["state_digest"] == again["state_digest"]
    assert found["requests"] + found["pretrain_requests"] == len((tmp_path / "b.csv").read_text().splitlines()) - 1
    for name in ("frozen", "continued"):
        assert found["variants"][name] == again["variants"][name]
        assert found["variants"][name]["log_loss"] < 1.05 * found["variants"][name]["base_log_loss"]
    with pytest.raises(NothingToReplay):
        replay_pricing(tmp_path / "b.csv", pretrain_share=1.0, quiet=True)
