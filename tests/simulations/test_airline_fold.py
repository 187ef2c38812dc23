"""A market played over HTTP and in one process: the same fares for the same travellers, each of them."""

from pathlib import Path

import numpy as np
import pytest

from online.artifact import read_artifact
from simulations.airline_client import ServiceSeller
from simulations.airline_fold import FoldSeller, Pace, alike
from simulations.airline_history import past, write_bookings
from simulations.airline_market import draw_market, draw_routes, play
from simulations.airline_optimum import Optimum
from simulations.airline_service import service


def market():
    return draw_market(routes=draw_routes(2, 5), flights_per_route=3, seed=6, drift="jump", calendar_days=20)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from batch.pricing.train import pretrain_pricing

    folder = tmp_path_factory.mktemp("artifact")
    before = draw_market(
        routes=draw_routes(2, 5), flights_per_route=6, seed=4, first_departure_day=-60, calendar_days=60
    )
    write_bookings(folder / "bookings.csv", before, past(before, 4))
    pretrain_pricing(folder / "bookings.csv", folder / "artifact", device="cpu", quiet=True)
    return folder / "artifact"


@pytest.mark.parametrize("learns", [True, False], ids=["continued", "frozen"])
def test_fares_over_http_are_those_of_the_same_fold_in_one_process(artifact, tmp_path, learns):
    with service(tmp_path / "service", artifact=artifact, seed=3, learns=learns) as address:
        seller = ServiceSeller(address.url, in_order=True)
        over_http = play(market(), seller)
        seller.close()
        pace = Pace.of(address.log_url, address.home)
    assert seller.disagreed == 0
    inside = FoldSeller(read_artifact(artifact), seed=3, learns=learns, pace=pace)
    in_process = play(market(), inside)
    assert alike(seller.fares, inside.fares) == len(seller.fares) == len(inside.fares) > 300
    np.testing.assert_array_equal(over_http.revenue_cents, in_process.revenue_cents)


def test_a_fold_that_learns_takes_more_after_a_jump_than_one_that_does_not(artifact):
    best = play(market(), Optimum()).revenue_cents.sum()
    took = {}
    for learns in (True, False):
        took[learns] = play(market(), FoldSeller(read_artifact(artifact), seed=3, learns=learns)).revenue_cents.sum()
    assert 0.6 * best < took[False] < took[True] < 1.02 * best
