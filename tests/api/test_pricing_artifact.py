"""A history of bookings becomes an artifact, and the service that begins from it quotes the same markets better."""

from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from api.command import cli
from simulations.airline_client import ServiceSeller
from simulations.airline_history import past, write_bookings
from simulations.airline_market import draw_market, draw_routes, play
from tests.api.conftest import Running


def test_a_market_is_played_over_http_from_its_booking_log(
    tmp_path: Path, start_service: Callable[..., Running]
) -> None:
    routes = draw_routes(2, 5)
    before = draw_market(routes=routes, flights_per_route=6, seed=4, first_departure_day=-60, calendar_days=60)
    file = tmp_path / "bookings.csv"
    assert write_bookings(file, before, past(before, 4)) > 300
    out = tmp_path / "artifact"
    pretrained = CliRunner().invoke(
        cli(), ["pretrain", "pricing", "--bookings", str(file), "--out", str(out), "--json"]
    )
    assert pretrained.exit_code == 0, pretrained.output

    service = start_service("home", "--artifact", str(out))
    assert service.address["pricing_artifact"]
    seller = ServiceSeller(service.address["url"])
    takings = play(draw_market(routes=routes, flights_per_route=2, seed=6, calendar_days=20), seller)
    assert seller.disagreed == 0  # about whether a seat is left, at every request
    assert seller.sources["model"] > 0.8 * seller.sources.total()
    assert takings.revenue_cents.min() > 0

    unknown = {"flight_id": "none", "features": {"wind": 3}}
    refused = service.client.post("/v1/quotes", json=unknown)
    assert refused.status_code == 422
    problem = refused.json()["errors"][0]
    assert (problem["code"], problem["pointer"]) == ("unknown_feature", "/features/wind")
    assert "saturday_stay" in problem["detail"]

    state = service.client.get("/v1/state").json()
    assert state["received"] == state["applied"] + state["late"] + state["duplicate"] + state["rejected"]
    seller.close()
    verified = CliRunner().invoke(cli(), ["verify", "--home", str(service.home), "--json"])
    assert verified.exit_code == 0, verified.output
    assert '"identical": true' in verified.output


def test_a_market_is_played_over_http_after_a_log_without_rows(
    tmp_path: Path, start_service: Callable[..., Running]
) -> None:
    """No history at all: the features that requests bring are accepted, watched and used, not refused."""
    file, out = tmp_path / "bookings.csv", tmp_path / "artifact"
    file.write_text("")
    arguments = ["pretrain", "pricing", "--bookings", str(file), "--out", str(out), "--json"]
    assert CliRunner().invoke(cli(), arguments).exit_code == 0
    service = start_service("home", "--artifact", str(out))
    seller = ServiceSeller(service.address["url"])
    takings = play(draw_market(routes=draw_routes(1, 5), flights_per_route=2, seed=6, calendar_days=8), seller)
    seller.close()
    assert takings.revenue_cents.min() > 0
    assert seller.sources["model"] > 0.8 * seller.sources.total() > 40
