"""What operators see ahead of a flight: the flow of mean requests through the fares that would be quoted."""

import numpy as np
import pytest

from online.pricing.outlook import STEPS, alone, look_ahead, sensitivity
from simulations.airline_driver import KernelSeller
from simulations.airline_market import DAY_MS, DAYS, draw_market, draw_routes, play


@pytest.fixture(scope="module")
def sold() -> tuple[KernelSeller, object]:
    """Kernels that have sold a market; then twenty more flights, opened and not yet asked for."""
    seller = KernelSeller()
    play(draw_market(routes=draw_routes(2, 9), flights_per_route=20, seed=3, calendar_days=60), seller)
    return seller, draw_market(
        routes=draw_routes(2, 9), flights_per_route=10, seed=4, first_departure_day=190, calendar_days=20
    )


def test_what_is_expected_is_about_what_then_comes(sold: tuple[KernelSeller, object]) -> None:
    seller, market = sold
    expected = []
    for number, flight in enumerate(market.flights):
        seller.open(market, number)
        ahead = look_ahead(alone(seller.p, number), flight.departs_ms - DAYS * DAY_MS)
        assert len(ahead) == STEPS + 1 and ahead[-1].at_ms == flight.departs_ms
        assert all(0.0 <= one.booked <= market.routes[flight.route].capacity for one in ahead)
        expected.append(ahead[-1].booked)
    came = play(market, seller)
    capacity = np.array([market.routes[flight.route].capacity for flight in market.flights])
    kept = capacity - seller.p.flights.seats_left[: len(capacity)]
    # Ten flights of each route, hidden levels of their own: the sums agree within a fifth.
    assert sum(expected) == pytest.approx(kept.sum(), rel=0.2)
    assert came.booked.sum() >= kept.sum()


def test_a_flight_that_has_left_or_was_never_asked_for_has_nothing_ahead(sold: tuple[KernelSeller, object]) -> None:
    seller, market = sold
    seller.open(market, 0)
    copy = alone(seller.p, 0)
    assert look_ahead(copy, market.flights[0].departs_ms) == ()
    assert look_ahead(copy, 0) == ()


def test_a_copy_does_not_follow_and_is_not_written(sold: tuple[KernelSeller, object]) -> None:
    seller, market = sold
    seller.open(market, 0)
    copy = alone(seller.p, 0)
    before = copy.flights.seats_left.copy()
    seller.p.flights.seats_left[0] -= 1
    assert copy.flights.seats_left.tolist() == before.tolist()
    with pytest.raises(ValueError, match="read-only"):
        copy.flights.seats_left[0] = 1
    for one in sensitivity(copy):
        assert 0.0 < one.low < one.steepness < one.high
