"""*Flights* on the dashboard, a fare explained, and fares in the metrics: of a service that sells a small market."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from simulations.airline_client import ServiceSeller
from simulations.airline_market import DAY_MS, START_MS, draw_market, draw_routes, play
from tests.api import chromium
from tests.api.conftest import Running, eventually

HOSTILE = '<img src=x onerror="alert(1)">'


class Half(ServiceSeller):
    """Sells until most flights have left and some have not."""

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        if at_ms > START_MS + 68 * DAY_MS:
            raise KeyboardInterrupt
        return super().quote(flight, at_ms, features, seats_left)


@pytest.fixture(scope="module")
def selling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service in the middle of a season, with an override, a hostile market and a booking that came too late."""
    running = Running(tmp_path_factory.mktemp("selling") / "home")
    seller, client = Half(running.address["url"]), running.client
    with pytest.raises(KeyboardInterrupt):
        play(draw_market(routes=draw_routes(2, 5), flights_per_route=3, seed=6, calendar_days=30), seller)
    seller.close()
    rule = {"rule_id": "fair", "kind": "override", "market": "R01", "fare_cents": 30_000}
    rule |= {"from": START_MS, "until": START_MS + 400 * DAY_MS}
    act = {"act": "rules", "author": "ada", "reason": "fair in town", "put": [rule]}
    assert client.post("/v1/acts", json=act).status_code == 200
    flight = {"market": HOSTILE, "departs_at": START_MS + 300 * DAY_MS, "capacity": 1, "currency": "EUR"}
    flight |= {"fare_floor_cents": 9_000, "fare_ceiling_cents": 60_000}
    assert client.put("/v1/flights/tiny", json=flight).status_code == 200
    asked = {"flight_id": "tiny", "asked_at": START_MS + 68 * DAY_MS, "features": {"saturday_stay": 1}}
    first, second = (client.post("/v1/quotes", json=asked).json()["quote_id"] for _ in range(2))
    booked, refused = (client.post(f"/v1/quotes/{one}/outcome", json={"outcome": "booked"}) for one in (first, second))
    assert (booked.status_code, refused.status_code) == (200, 409)
    assert client.post("/v1/quotes", json=asked).json()["fare_cents"] is None
    assert eventually(lambda: client.get("/v1/state").json()["position"] >= booked.json()["position"])
    try:
        yield running
    finally:
        assert running.stop() == 0


def rows(service: Running, name: str, **query: str) -> list[dict[str, Any]]:
    reply = service.client.get(f"/dashboard/tables/{name}.json", params=query)
    assert reply.status_code == 200, reply.text
    csv = service.client.get(f"/dashboard/tables/{name}.csv", params=query)
    assert csv.status_code == 200 and len(csv.text.splitlines()) >= 1
    found: list[dict[str, Any]] = reply.json()
    return found


def test_flights_on_sale_stand_before_those_that_have_left(selling: Running) -> None:
    found = rows(selling, "flights")
    assert len(found) == 7
    on_sale = [row["departs"] for row in found if row["days left"]]
    assert on_sale == sorted(on_sale) == [row["departs"] for row in found[: len(on_sale)]] and 0 < len(on_sale) < 7
    assert [row["flight"] for row in rows(selling, "flights", q="tin")] == ["tiny"]
    assert {row["market"] for row in rows(selling, "flights", q="r01")} == {"R01"}
    assert rows(selling, "flights", offset="6") == found[6:]
    (tiny,) = rows(selling, "flights", q="tiny")
    assert (tiny["booked"], tiny["held"], tiny["currency"], tiny["market"]) == (1, 0, "EUR", HOSTILE)
    assert tiny["last fare"] > 90.0


def test_a_booking_curve_is_what_was_sold_and_goes_on_as_the_model_expects(selling: Running) -> None:
    flight = rows(selling, "flights")[0]
    outlook = rows(selling, "flight-outlook", id=flight["flight"])
    so_far = [row for row in outlook if row["what"] == "quoted"]
    ahead = [row for row in outlook if row["what"] == "expected"]
    assert len(so_far) == flight["requests"] and len(ahead) == 25
    assert 0 <= flight["booked"] - so_far[-1]["seats booked or held"] <= 1
    assert [row["at"] for row in outlook] == sorted(row["at"] for row in outlook)
    assert abs(ahead[0]["seats booked or held"] - flight["booked"]) < 0.1
    assert ahead[-1]["days before departure"] == 0.0
    assert flight["booked"] - 1 <= ahead[-1]["seats booked or held"] <= flight["capacity"]
    assert all(row["fare"] is None or 20.0 < row["fare"] < 1_000.0 for row in ahead)
    gone = rows(selling, "flights")[-1]
    assert all(row["what"] == "quoted" for row in rows(selling, "flight-outlook", id=gone["flight"]))


def test_price_sensitivity_is_told_with_its_interval(selling: Running) -> None:
    found = rows(selling, "sensitivity", id=rows(selling, "flights", q="R00")[0]["flight"])
    assert [row["travellers"] for row in found] == ["leisure", "business"]
    for row in found:
        assert 0.0 < row["low"] < row["steepness"] < row["high"]


def test_overrides_stand_with_the_flights_that_they_are_about(selling: Running) -> None:
    (rule,) = rows(selling, "fare-rules")
    assert (rule["kind"], rule["what"], rule["author"], rule["reason"]) == ("override", "300.00", "ada", "fair in town")
    about = rows(selling, "flights", q="R01")[0]["flight"]
    assert [row["rule"] for row in rows(selling, "fare-rules", id=about)] == ["fair"]
    assert rows(selling, "fare-rules", id="tiny") == []


def test_what_clients_say_counts_is_told_and_all_of_it_where_there_is_one(selling: Running) -> None:
    (one,) = rows(selling, "fare-clients")
    assert (one["client"], one["markets"]) == ("without a key", 3)
    assert one["bookings expected"] > 5.0 < one["kept"]
    assert one["counts, in its worst market"] == {"ok": True, "found": "100 %"}


def test_a_fare_is_explained_by_demand_bid_price_and_rules(selling: Running) -> None:
    quotes = rows(selling, "quotes")
    assert len(quotes) == 50 and quotes[0]["named by"] == "closed"
    one = next(row for row in quotes if row["named by"] in ("model", "bound") and row["fare"])
    recorded = selling.client.get(f"/v1/decisions/{one['quote']}").json()
    demand = rows(selling, "demand", id=one["quote"])
    assert [row["fare"] * 100 for row in demand] == [at["fare_cents"] for at in recorded["demand"]]
    assert all(row["low"] <= row["P(books)"] <= row["high"] for row in demand)
    assert sum(row["quoted"] for row in demand) == 1
    assert rows(selling, "fare-steps", id=one["quote"])[0]["who"] == one["named by"]
    page = selling.client.get("/dashboard/decision", params={"id": one["quote"]}).text
    assert "bid price" in page and "No personal data" in page and "data-reproduce" in page and "<svg" in page
    again = selling.client.post(f"/v1/decisions/{one['quote']}/reproduce", timeout=120.0).json()
    assert again["identical"], again


@pytest.mark.parametrize("name", ["nonsense", HOSTILE, "é\u202e"])
def test_a_flight_that_nobody_put_is_said_to_be_unknown(selling: Running, name: str) -> None:
    page = selling.client.get("/dashboard/flight", params={"id": name})
    assert page.status_code == 404 and 'role="alert"' in page.text and HOSTILE not in page.text
    assert selling.client.get("/dashboard/tables/sensitivity.json", params={"id": name}).status_code == 404
    assert selling.client.get("/dashboard/tables/demand.json", params={"id": name}).status_code == 404


def test_fares_are_counted_in_the_metrics(selling: Running) -> None:
    text = selling.client.get("/metrics").text
    found = {
        (sample.name, sample.labels.get("outcome", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    quoted, closed = (found["perennial_quotes_total", name] for name in ("quoted", "not_for_sale"))
    listed = rows(selling, "flights")
    # A flight's first request begins the time in which its others are counted.
    assert 0 <= quoted + closed - sum(row["requests"] for row in listed) <= len(listed) and quoted > 300
    assert closed >= 1 and found["perennial_flights", ""] == 7
    assert found["perennial_seats", "booked"] == sum(row["booked"] for row in listed)
    assert found["perennial_seats", "free"] == sum(row["capacity"] - row["booked"] - row["held"] for row in listed)
    booked = found["perennial_quote_outcomes_total", "booked"]
    assert booked - found["perennial_quote_outcomes_total", "cancelled"] == found["perennial_seats", "booked"]
    assert found["perennial_seat_claims_total", "none_left"] == 1, "a seat that somebody else had taken"
    assert found["perennial_seat_claims_total", "granted"] > booked
    assert found["perennial_seats_beyond_capacity_total", ""] == 0 == found["perennial_flights_refused_total", ""]
    assert found["perennial_bid_price_solves_total", ""] > 0


def test_flights_are_drawn_in_a_browser_without_a_word_on_its_console(selling: Running, tmp_path: Path) -> None:
    if chromium.program() is None:
        pytest.skip("no Chromium on PATH: `apt-get install chromium`")
    flight = rows(selling, "flights")[0]["flight"]
    fare = next(row for row in rows(selling, "quotes") if row["fare"])["quote"]
    page = chromium.Page(tmp_path / "profile")
    try:
        for width, height, dark in ((1280, 900, False), (390, 844, True)):
            page.emulate(width=width, height=height, dark=dark)
            for address in ("/dashboard/flights", f"/dashboard/flight?id={flight}", f"/dashboard/decision?id={fare}"):
                page.go(selling.address["url"] + address)
                wide = page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert wide <= 0, f"{address} is wider than a screen of {width}"
        page.go(selling.address["url"] + f"/dashboard/flight?id={flight}")
        assert page.run("document.querySelectorAll('figure svg path').length") == 4, "so far and ahead, twice"
        colours = page.run("[...document.querySelectorAll('figure svg path')].map(e => getComputedStyle(e).stroke)")
        assert len(set(colours)) == 2 and "none" not in colours
        loaded = page.loaded
        page.press("6")
        page.wait_loaded(loaded)
        assert page.run("location.pathname") == "/dashboard/flights"
        assert page.errors == []
    finally:
        page.close()
