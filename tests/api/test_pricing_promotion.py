"""Another artifact of pricing's, promoted while its service runs: the retained log folded on it, and back again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.command import cli
from simulations.airline_client import ServiceSeller
from simulations.airline_history import past, write_bookings
from simulations.airline_market import draw_market, draw_routes, play
from tests.api.conftest import Running

Start = Callable[..., Running]
ROUTES = draw_routes(2, 5)


def pretrained(folder: Path, *, flights: int) -> Path:
    """An artifact of a history of so many flights on each route."""
    folder.mkdir()
    market = draw_market(
        routes=ROUTES, flights_per_route=flights, seed=flights, first_departure_day=-60, calendar_days=60
    )
    write_bookings(folder / "bookings.csv", market, past(market, 4))
    perennial("pretrain", "pricing", "--bookings", str(folder / "bookings.csv"), "--out", str(folder / "artifact"))
    return folder / "artifact"


def perennial(*arguments: str) -> Any:
    done = CliRunner().invoke(cli(), [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def state(service: Running) -> dict[str, Any]:
    return dict(service.client.get("/v1/state").json())


def quoted(service: Running, flight_id: str, at_ms: int) -> dict[str, Any]:
    """A fare, and what is recorded of it."""
    asked = {"flight_id": flight_id, "asked_at": at_ms, "features": {"saturday_stay": 1}}
    reply = service.client.post("/v1/quotes", json=asked)
    assert reply.status_code == 201, reply.text
    return dict(service.client.get(f"/v1/decisions/{reply.json()['quote_id']}").json())


def test_a_promoted_artifact_of_fares_has_learned_what_was_learned_live(start_service: Start, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    first, second = pretrained(tmp_path / "thin", flights=2), pretrained(tmp_path / "rich", flights=8)
    service = start_service("home", "--artifact", str(first))
    market = draw_market(routes=ROUTES, flights_per_route=3, seed=6, calendar_days=20)
    seller = ServiceSeller(service.address["url"])
    play(market, seller)
    seller.close()
    flight = market.flights[-1]
    service.client.put(
        "/v1/flights/later",
        json={
            "market": ROUTES[flight.route].market,
            "departs_at": flight.departs_ms + 30 * 86_400_000,
            "capacity": 40,
            "currency": "USD",
            "fare_floor_cents": 9_000,
            "fare_ceiling_cents": 60_000,
        },
    )
    at_ms = flight.departs_ms + 86_400_000
    before_quote, before = quoted(service, "later", at_ms), state(service)
    assert before_quote["model"]["artifact"] == service.address["pricing_artifact"]

    home = str(service.home)
    dry = perennial("promote", str(second), "--dry-run", "--home", home)
    assert dry["dry_run"] and dry["to"] == 0 and state(service)["digest"] == before["digest"]
    assert 0 < dry["changed_decisions"] <= dry["compared_decisions"], "fares count as decisions"
    done = perennial("promote", str(second), "--reason", "monthly", "--home", home)
    now = state(service)
    assert now["digest"] == done["digest"] == dry["digest"] != before["digest"]
    assert now["received"] == before["received"], "what was learned live is learned again"

    after_quote = quoted(service, "later", at_ms + 3_600_000)
    assert after_quote["model"]["artifact"] not in ("", before_quote["model"]["artifact"])
    for quote in (before_quote, after_quote):
        found = service.client.post(f"/v1/decisions/{quote['quote_id']}/reproduce", timeout=120.0).json()
        assert found["identical"], found
    assert perennial("verify", "--home", home)["identical"]
    label = service.client.post("/v1/snapshots", json={"label": "promoted"}, timeout=120.0)
    assert label.status_code == 201, label.text
    assert all(one["ok"] for one in perennial("snapshot", "verify", "--home", home))

    back = service.client.post(
        "/v1/rollbacks", json={"to": {"position": done["from"]}, "reason": "a test"}, timeout=120
    )
    assert back.json()["digest"] == before["digest"]
    assert quoted(service, "later", at_ms)["model"]["artifact"] == before_quote["model"]["artifact"]
    undo = {"to": {"position": back.json()["from"]}, "reason": "a test"}
    assert service.client.post("/v1/rollbacks", json=undo, timeout=120).status_code == 200
    digest = state(service)["digest"]
    service.stop()
    restarted = start_service("home")
    assert state(restarted)["digest"] == digest
    assert quoted(restarted, "later", at_ms + 7_200_000)["model"]["artifact"] == after_quote["model"]["artifact"]
    assert perennial("verify", "--home", home)["identical"]


def test_a_service_without_a_past_takes_its_first_artifact_of_fares_while_it_runs(
    start_service: Start, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    artifact = pretrained(tmp_path / "thin", flights=2)
    service = start_service("home")
    seller = ServiceSeller(service.address["url"])
    play(draw_market(routes=ROUTES, flights_per_route=1, seed=6, calendar_days=20), seller)
    seller.close()
    strange = {"flight_id": "none", "features": {"wind": 3}}
    assert service.client.post("/v1/quotes", json=strange).status_code == 404, (
        "any name may come: no artifact says which"
    )
    perennial("promote", str(artifact), "--reason", "first", "--home", str(service.home))
    refused = service.client.post("/v1/quotes", json=strange)
    assert refused.status_code == 422 and refused.json()["errors"][0]["code"] == "unknown_feature"
    assert perennial("verify", "--home", str(service.home))["identical"]
