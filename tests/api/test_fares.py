"""Fares over HTTP, held against a running service with two workers: quotes, outcomes, seats, rules, errors."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from online.archive import open_log
from online.pricing.records import Cancellation
from online.records import decode
from tests.api.conftest import Running, eventually

PROBLEM = "application/problem+json"
DAY_S = 86_400
ASKED = "2027-05-01T12:00:00Z"
DEPARTS = "2027-06-01T12:00:00Z"


@pytest.fixture(scope="module")
def fares(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("fares") / "home", "--workers", "2")
    yield running
    assert running.stop() == 0


def flight(service: Running, name: str, **changes: Any) -> httpx.Response:
    body = {
        "market": "ZRH-LIS",
        "departs_at": DEPARTS,
        "capacity": 5,
        "currency": "EUR",
        "fare_floor_cents": 5_000,
        "fare_ceiling_cents": 40_000,
    }
    return service.client.put(f"/v1/flights/{name}", json={k: v for k, v in (body | changes).items() if v is not None})


def quoted(service: Running, name: str, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    if headers and "X-Min-Position" in headers:  # on a busy machine learning may take longer than a request waits
        eventually(lambda: learned(service, int(headers["X-Min-Position"])))
    reply = service.client.post("/v1/quotes", json={"flight_id": name, "asked_at": ASKED} | fields, headers=headers)
    assert reply.status_code == 201, reply.text
    found: dict[str, Any] = reply.json()
    return found


def learned(service: Running, position: int) -> bool:
    try:
        with httpx.Client(base_url=service.address["url"], timeout=5.0) as client:
            return bool(client.get("/v1/state").json().get("learned_position", 0) >= position)
    except httpx.HTTPError:
        return False


def answer(service: Running, quote_id: str, outcome: str = "booked", **fields: Any) -> httpx.Response:
    return service.client.post(f"/v1/quotes/{quote_id}/outcome", json={"outcome": outcome} | fields)


def assert_problem(reply: httpx.Response, status: int, code: str, pointer: str | None = None) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == PROBLEM
    problem: dict[str, Any] = reply.json()
    assert problem["code"] == code
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer, problem
    return problem


def test_a_flight_is_quoted_booked_and_cancelled_at_simulated_dates(fares: Running) -> None:
    put = flight(fares, "a-1")
    assert put.status_code == 200, put.text
    assert put.json()["seats_left"] == 5
    found = quoted(fares, "a-1")
    assert set(found) >= {
        "quote_id", "flight_id", "fare_cents", "currency", "expires_at", "seats_left", "because", "disclosure", "model"
    }  # fmt: skip
    assert 5_000 <= found["fare_cents"] <= 40_000
    assert (found["currency"], found["seats_left"]) == ("EUR", 5)
    assert found["expires_at"] == "2027-05-01T12:15:00.000Z"
    assert "No personal data was used." in found["disclosure"]
    booked = answer(fares, found["quote_id"])
    assert booked.status_code == 200, booked.text
    assert booked.json()["seats_left"] == 4
    booking = booked.json()["booking_id"]
    cancelled = fares.client.post(f"/v1/bookings/{booking}/cancel", json={})
    assert cancelled.status_code == 200, cancelled.text
    assert cancelled.json()["seats_left"] == 5
    bare = fares.client.post(f"/v1/bookings/{booking}/cancel")
    assert bare.json() == cancelled.json()  # said again, answered as the first time
    assert_problem(answer(fares, found["quote_id"]), 409, "outcome_conflict")


def test_a_cancellation_without_a_time_happens_where_the_played_dates_have_come_to(fares: Running) -> None:
    flight(fares, "a-late", market="ZRH-OPO")
    booking = answer(fares, quoted(fares, "a-late")["quote_id"]).json()["booking_id"]
    later = quoted(fares, "a-late", asked_at="2027-05-20T12:00:00Z")
    said = answer(fares, later["quote_id"], "declined").json()
    assert eventually(lambda: learned(fares, said["position"]))
    given_back = fares.client.post(f"/v1/bookings/{booking}/cancel")
    assert given_back.status_code == 200, given_back.text
    reader = open_log(fares.address["log_url"], fares.home)
    record = decode(reader.entry(given_back.json()["position"]) or b"")
    reader.close()
    assert isinstance(record, Cancellation)
    assert 0 <= record.at_ms - 1_810_814_400_000 < 60_000  # 20 May 2027, noon


def test_a_declined_quote_frees_what_it_held(fares: Running) -> None:
    flight(fares, "a-2", capacity=1)
    held = quoted(fares, "a-2", hold_s=600)
    assert held["held_until"] == "2027-05-01T12:10:00.000Z"
    other = quoted(fares, "a-2", headers={"X-Min-Position": str(held["model"]["position"] + 1)})
    assert other["fare_cents"] is None or answer(fares, other["quote_id"]).status_code == 409
    declined = answer(fares, held["quote_id"], "declined")
    assert declined.json() == {"booking_id": None, "seats_left": 1, "position": declined.json()["position"]}
    later = quoted(fares, "a-2", headers={"X-Min-Position": str(declined.json()["position"])})
    assert later["fare_cents"] is not None


def test_the_last_seat_is_sold_once_and_then_nothing_is_for_sale(fares: Running) -> None:
    flight(fares, "a-3", capacity=1)
    first, second = quoted(fares, "a-3"), quoted(fares, "a-3", features={"bag": 1})
    assert answer(fares, first["quote_id"]).status_code == 200
    assert_problem(answer(fares, second["quote_id"]), 409, "sold_out")
    position = answer(fares, first["quote_id"]).json()["position"]
    none = quoted(fares, "a-3", headers={"X-Min-Position": str(position)})
    assert none["fare_cents"] is None
    assert none["because"][0]["note"] == "no seat is left"
    assert_problem(answer(fares, none["quote_id"]), 409, "sold_out")


def test_a_quote_is_honoured_until_it_expires_and_a_repeated_booking_after_it(fares: Running) -> None:
    flight(fares, "a-4")
    found = quoted(fares, "a-4")
    assert_problem(answer(fares, found["quote_id"], occurred_at="2027-05-01T12:15:00.001Z"), 410, "quote_expired")
    booked = answer(fares, found["quote_id"], occurred_at="2027-05-01T12:15:00Z")
    assert booked.status_code == 200, booked.text
    again = answer(fares, found["quote_id"], occurred_at="2027-05-02T12:15:00Z")
    assert again.json() == booked.json()
    assert_problem(answer(fares, found["quote_id"], "declined"), 409, "outcome_conflict")


def test_what_is_not_known_is_not_found(fares: Running) -> None:
    assert_problem(fares.client.post("/v1/quotes", json={"flight_id": "none"}), 404, "flight_unknown")
    for name in ("none", "0194bd2e-7c00-7d3a-9f00-3b6f0c2a9e11", "0194bd2e-7c00-8d3a-9f00-3b6f0c2a9e11"):
        assert_problem(answer(fares, name), 404, "quote_unknown")
        assert_problem(fares.client.get(f"/v1/decisions/{name}"), 404, "decision_unknown")
    flight(fares, "a-5")
    unbooked = quoted(fares, "a-5")["quote_id"]
    for booking in ("none", f"{0:016x}-{unbooked}"):
        assert_problem(fares.client.post(f"/v1/bookings/{booking}/cancel", json={}), 404, "booking_unknown")


@pytest.mark.parametrize(
    ("field", "pointer"),
    [
        ({"user_id": "ada"}, "/user_id"),
        ({"email": "ada@example.org"}, "/email"),
        ({"device": "phone"}, "/device"),
        ({"ip": "192.0.2.1"}, "/ip"),
        ({"features": {"userId": 5}}, "/features/userId"),
        ({"features": {"account_age": 5}}, "/features/account_age"),
    ],
)
def test_personal_data_is_refused_with_the_reason(fares: Running, field: dict[str, Any], pointer: str) -> None:
    flight(fares, "a-6")
    refused = fares.client.post("/v1/quotes", json={"flight_id": "a-6"} | field)
    problem = assert_problem(refused, 422, "invalid_request", pointer)
    assert problem["errors"][0]["code"] == "personal_data"
    assert "No personal data sets a price" in problem["detail"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"capacity": 0}, "/capacity"),
        ({"capacity": None}, "/capacity"),
        ({"currency": "euro"}, "/currency"),
        ({"fare_ceiling_cents": 4_999}, "/fare_ceiling_cents"),
        ({"fare_ladder_cents": [4_000, 9_000]}, "/fare_ladder_cents"),
        ({"departs_at": "tomorrow"}, "/departs_at"),
        ({"features": {"peak": "yes"}}, "/features"),
        ({"fare_floor_cents": 10.5}, "/fare_floor_cents"),
    ],
)
def test_a_faulty_flight_names_its_place(fares: Running, change: dict[str, Any], pointer: str) -> None:
    assert_problem(flight(fares, "a-7", **change), 422, "invalid_request", pointer)


def test_a_faulty_request_names_its_place(fares: Running) -> None:
    flight(fares, "a-8")
    for body, pointer in (
        ({"flight_id": "a-8", "hold_s": 0}, "/hold_s"),
        ({"flight_id": "a-8", "asked_at": "noon"}, "/asked_at"),
        ({"flight_id": "a-8", "passengers": 2}, ""),
        ({}, "/flight_id"),
    ):
        assert_problem(fares.client.post("/v1/quotes", json=body), 422, "invalid_request", pointer)
    found = quoted(fares, "a-8")["quote_id"]
    assert_problem(answer(fares, found, "maybe"), 422, "invalid_request", "/outcome")
    assert_problem(answer(fares, found, "booked", occurred_at="noon"), 422, "invalid_request", "/occurred_at")


def test_a_capacity_below_what_is_sold_is_refused(fares: Running) -> None:
    flight(fares, "a-9", capacity=3)
    for _ in range(2):
        assert answer(fares, quoted(fares, "a-9")["quote_id"]).status_code == 200
    assert_problem(flight(fares, "a-9", capacity=1), 409, "capacity_in_use")
    assert flight(fares, "a-9", capacity=2).json()["seats_left"] == 0


def test_a_key_gives_the_same_quote_whichever_worker_answers(fares: Running) -> None:
    flight(fares, "a-10")
    found = []
    for _ in range(8):
        with httpx.Client(base_url=fares.address["url"]) as client:
            body = {"flight_id": "a-10", "asked_at": ASKED, "features": {"bag": 1}, "hold_s": 60}
            found.append(client.post("/v1/quotes", json=body, headers={"Idempotency-Key": "k-10"}).json())
    assert all(one == found[0] for one in found)
    body = {"flight_id": "a-10", "asked_at": ASKED, "features": {"bag": 2}}
    again = fares.client.post("/v1/quotes", json=body, headers={"Idempotency-Key": "k-10"})
    assert_problem(again, 422, "idempotency_key_reused")
    assert answer(fares, found[0]["quote_id"]).json()["seats_left"] == 4


def test_an_outcome_said_to_every_worker_books_one_seat(fares: Running) -> None:
    flight(fares, "a-11")
    quote_id = quoted(fares, "a-11")["quote_id"]
    replies = []
    for _ in range(8):
        with httpx.Client(base_url=fares.address["url"]) as client:
            replies.append(client.post(f"/v1/quotes/{quote_id}/outcome", json={"outcome": "booked"}))
    assert {reply.status_code for reply in replies} == {200}
    assert all(reply.json() == replies[0].json() for reply in replies)
    assert replies[0].json()["seats_left"] == 4


def test_a_fare_is_explained_by_its_record(fares: Running) -> None:
    flight(fares, "a-12", fare_ladder_cents=[9_000, 12_000, 15_000, 21_000, 30_000])
    found = quoted(fares, "a-12", features={"saturday_stay": 1})
    assert found["fare_cents"] in (9_000, 12_000, 15_000, 21_000, 30_000)
    told = fares.client.get(f"/v1/decisions/{found['quote_id']}").json()
    assert told["fare_cents"] == found["fare_cents"]
    assert told["because"] == found["because"]
    assert told["features"] == {"saturday_stay": 1.0}
    rungs = [row["fare_cents"] for row in told["demand"]]
    assert found["fare_cents"] in rungs
    assert rungs == sorted(rungs)
    for row in told["demand"]:
        assert 0.0 <= row["low"] <= row["probability"] <= row["high"] <= 1.0
    chances = [row["probability"] for row in told["demand"]]
    assert chances == sorted(chances, reverse=True)


def test_rules_are_previewed_written_obeyed_and_removed(fares: Running) -> None:
    put = flight(fares, "b-1", market="ZRH-FAO")
    before = quoted(fares, "b-1", headers={"X-Min-Position": str(put.json()["position"])})["fare_cents"]
    # A preview looks at the market's clock, which that quote has moved as soon as it is learned.
    assert eventually(lambda: learned(fares, fares.client.get("/v1/state").json()["log_head"]))
    rule = {"rule_id": "no-less", "kind": "floor", "market": "ZRH-FAO", "fare_cents": 39_999}
    act = {"act": "rules", "put": [rule], "reason": "fuel", "author": "ada"}
    preview = fares.client.post("/v1/acts", json=act | {"dry_run": True}).json()
    assert preview["changed"] == 1
    assert preview["changes"][0]["flight_id"] == "b-1"
    assert preview["changes"][0]["after_cents"] == 39_999
    assert fares.client.get("/v1/rules").json()["rules"] == []
    written = fares.client.post("/v1/acts", json=act)
    assert written.status_code == 200, written.text
    headers = {"X-Min-Position": str(written.json()["position"])}
    after = quoted(fares, "b-1", headers=headers)
    assert after["fare_cents"] == 39_999
    assert {"rule": "floor", "fare_cents": 39_999, "note": ""} in after["because"]
    override = {
        "rule_id": "sale",
        "kind": "override",
        "flight_id": "b-1",
        "fare_cents": 7_777,
        "from": "2027-04-30T00:00:00Z",
        "until": "2027-05-02T00:00:00Z",
    }
    sale = fares.client.post("/v1/acts", json={"act": "rules", "put": [override], "reason": "sale", "author": "ada"})
    on_sale = quoted(fares, "b-1", headers={"X-Min-Position": str(sale.json()["position"])})
    assert on_sale["fare_cents"] == 7_777
    assert on_sale["because"][1]["note"] == "sale by ada: sale"
    removed = fares.client.post("/v1/acts", json={"act": "rules", "remove": ["no-less", "sale"], "reason": "over"})
    again = quoted(fares, "b-1", headers={"X-Min-Position": str(removed.json()["position"])})
    assert [step["rule"] for step in again["because"]] == ["model"]
    assert again["fare_cents"] != 39_999 != before
    off = {"act": "rules", "put": [{"rule_id": "off", "kind": "without_model"}], "reason": "a review"}
    position = fares.client.post("/v1/acts", json=off).json()["position"]
    by_rules = quoted(fares, "b-1", headers={"X-Min-Position": str(position)})
    assert by_rules["model"]["source"] == "rules"
    fares.client.post("/v1/acts", json={"act": "rules", "remove": ["off"], "reason": "reviewed"})


@pytest.mark.parametrize(
    ("rule", "pointer"),
    [
        ({"kind": "floor"}, "/put/0/fare_cents"),
        ({"kind": "ladder", "ladder_cents": [2, 1]}, "/put/0/ladder_cents"),
        ({"kind": "override", "fare_cents": 1}, "/put/0/from"),
        ({"kind": "step"}, "/put/0/most_cents"),
        ({"kind": "fence", "fare_cents": 1}, "/put/0/days_before"),
        ({"kind": "rounding", "multiple_cents": 10, "ending_cents": 10}, "/put/0/ending_cents"),
        ({"kind": "floor", "fare_cents": 1, "market": "m", "flight_id": "f"}, "/put/0/flight_id"),
        ({"kind": "magic"}, "/put/0/kind"),
    ],
)
def test_a_rule_that_could_not_be_applied_is_refused(fares: Running, rule: dict[str, Any], pointer: str) -> None:
    body = {"act": "rules", "reason": "a test", "put": [{"rule_id": "r"} | rule]}
    assert_problem(fares.client.post("/v1/acts", json=body), 422, "invalid_request", pointer)


def test_what_was_never_a_rule_cannot_be_removed(fares: Running) -> None:
    body = {"act": "rules", "reason": "a test", "remove": ["none"]}
    assert_problem(fares.client.post("/v1/acts", json=body), 422, "invalid_request", "/remove/0")


def test_a_fare_is_decided_again_byte_by_byte(fares: Running) -> None:
    flight(fares, "d-1", capacity=2, fare_ladder_cents=[9_000, 12_000, 15_000, 21_000, 30_000])
    asked = [{}, {"features": {"saturday_stay": 1}}, {"hold_s": 60}, {"asked_at": "2027-05-03T12:00:00Z"}]
    for fields in asked:
        found = quoted(fares, "d-1", **fields)
        again = fares.client.post(f"/v1/decisions/{found['quote_id']}/reproduce")
        assert again.status_code == 200, again.text
        assert again.json()["identical"] is True, again.json()
        answer(fares, found["quote_id"], "declined")


def test_a_learner_and_a_worker_that_die_lose_no_seat(fares: Running) -> None:
    flight(fares, "e-1", capacity=3)
    held = quoted(fares, "e-1", hold_s=600)
    booked = answer(fares, quoted(fares, "e-1")["quote_id"]).json()
    learner = fares.pid_of("online.learner")
    os.kill(learner, signal.SIGKILL)
    os.kill(fares.pid_of("api.worker"), signal.SIGKILL)
    confirmed = {}

    def confirm() -> bool:
        try:
            with httpx.Client(base_url=fares.address["url"], timeout=5.0) as client:
                reply = client.post(f"/v1/quotes/{held['quote_id']}/outcome", json={"outcome": "booked"})
        except httpx.HTTPError:
            return False
        confirmed.update(reply.json())
        return reply.status_code == 200

    assert eventually(confirm, within_s=120.0), fares.said()[-2_000:]
    assert confirmed["seats_left"] == 1
    assert eventually(
        lambda: any("online.learner" in what and pid != learner for pid, what in fares.children().items())
    )
    assert eventually(lambda: learned(fares, confirmed["position"]), within_s=120.0), fares.said()[-2_000:]
    fares.client.close()
    fares.client = httpx.Client(base_url=fares.address["url"], timeout=30.0)  # the old one knew the worker that died
    last = quoted(fares, "e-1")
    assert last["seats_left"] == 1
    assert answer(fares, last["quote_id"]).json()["seats_left"] == 0
    assert booked["position"] < confirmed["position"]


def test_outcomes_are_accounted_for_and_the_log_folds_to_the_same_digest(fares: Running) -> None:
    flight(fares, "c-1", capacity=50)
    moment = time.time()
    for k in range(30):
        asked = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment + k * 40_000))
        found = fares.client.post("/v1/quotes", json={"flight_id": "c-1", "asked_at": asked}).json()
        if found["fare_cents"] is not None and k % 3:
            position = answer(fares, found["quote_id"], "booked" if k % 2 else "declined").json()["position"]
    assert eventually(lambda: fares.client.get("/v1/state").json()["learned_position"] >= position)
    state = fares.client.get("/v1/state").json()
    assert state["received"] == state["applied"] + state["duplicate"] + state["late"] + state["rejected"] > 20
