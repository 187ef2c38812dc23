"""The contract, held against a running service: server, learner and two workers."""

import json
import re
import socket
import time
from typing import Any

import httpx
import pytest

from tests.api.conftest import Running, caught_up, eventually

PROBLEM = "application/problem+json"


def slate(service: Running, **fields: Any) -> httpx.Response:
    headers = fields.pop("headers", None)
    return service.client.post("/v1/recommendations", json=fields, headers=headers)


def slate_at(service: Running, position: int, **fields: Any) -> httpx.Response:
    return caught_up(lambda: slate(service, headers={"X-Min-Position": str(position)}, **fields))


def assert_problem(reply: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == PROBLEM
    problem: dict[str, Any] = reply.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["request_id"] == reply.headers["x-request-id"]
    assert set(problem) >= {"type", "title", "status", "detail", "code", "request_id", "errors", "hint"}
    return problem


def test_a_slate_has_the_shape_of_the_contract(service: Running) -> None:
    reply = slate(service, user_id="u1", n=5, context={"device": "tv", "hour": 21})
    assert reply.status_code == 201, reply.text
    body = reply.json()
    assert set(body) == {"decision_id", "items", "model"}
    assert [item["position"] for item in body["items"]] == [1, 2, 3, 4, 5]
    assert len({item["item_id"] for item in body["items"]}) == 5
    for item in body["items"]:
        assert set(item) == {"item_id", "position", "score", "propensity", "because"}
        assert 0.0 < item["propensity"] <= 1.0
    assert set(body["model"]) >= {"artifact", "position", "staleness_ms", "arm", "recorded"}
    assert body["model"]["recorded"] is True


def test_users_and_items_never_seen_are_served(service: Running) -> None:
    assert len(slate(service, user_id="nobody ever", n=10).json()["items"]) == 10
    only = slate(service, user_id="u1", candidates=["i1", "never seen", "i2"], n=3).json()["items"]
    assert {item["item_id"] for item in only} <= {"i1", "i2", "never seen"}


def test_candidates_and_exclusions_hold(service: Running) -> None:
    for _ in range(5):
        items = slate(service, user_id="u2", candidates=[f"i{n}" for n in range(10)], exclude=["i3", "i4"]).json()[
            "items"
        ]
        assert {item["item_id"] for item in items} <= {f"i{n}" for n in range(10)} - {"i3", "i4"}


def test_integer_ids_are_the_strings_of_their_digits(service: Running) -> None:
    decision = slate(service, user_id=17).json()["decision_id"]
    assert service.client.get(f"/v1/decisions/{decision}").json()["user_id"] == "17"


def test_a_decision_can_be_read_as_it_was_answered(service: Running) -> None:
    for number in range(10):
        answered = slate(service, user_id=f"u{number}", n=4, context={"device": "tv"}).json()
        found = service.client.get(f"/v1/decisions/{answered['decision_id']}")
        assert found.status_code == 200, found.text
        recorded = found.json()
        assert recorded["items"] == answered["items"]
        assert recorded["model"] == answered["model"]
        assert recorded["context"] == {"device": "tv"}
        assert recorded["n"] == 4


def test_a_decision_that_never_was_is_not_found(service: Running) -> None:
    for identifier in ("nonsense", "0194bd2e-7c00-7d3a-9f00-3b6f0c2a9e11", "a/b", "%00"):
        assert_problem(service.client.get(f"/v1/decisions/{identifier}"), 404, "decision_unknown")


def test_every_event_is_accounted_for(service: Running) -> None:
    before = service.client.get("/v1/state").json()
    events = [
        {"event_id": "once", "event_type": "play", "user_id": "u1", "item_id": "i1"},
        {"event_id": "once", "event_type": "play", "user_id": "u1", "item_id": "i1"},
        {"event_type": "explode", "user_id": "u1", "item_id": "i1"},
        {"event_type": "play", "user_id": "", "item_id": "i1"},
        {"event_type": "play", "user_id": "new", "item_id": "new"},
    ]
    reply = service.client.post("/v1/events", json={"events": events}).json()
    assert (reply["received"], reply["accepted"], reply["duplicate"]) == (5, 2, 1)
    assert [(r["index"], r["code"]) for r in reply["rejected"]] == [(2, "unknown_event_type"), (3, "empty_id")]
    assert eventually(lambda: service.client.get("/v1/state").json()["position"] >= reply["position"])
    after = service.client.get("/v1/state").json()
    assert after["received"] - before["received"] == 5
    assert after["duplicate"] - before["duplicate"] == 1
    assert after["rejected"] - before["rejected"] == 2
    assert after["received"] == after["applied"] + after["duplicate"] + after["late"] + after["rejected"]


def test_an_event_sent_to_every_worker_is_applied_once(service: Running) -> None:
    before = service.client.get("/v1/state").json()
    event = {"event_id": "to all", "event_type": "play", "user_id": "u1", "item_id": "i1"}
    replies = []
    for _ in range(12):
        # A connection each, so that both workers are met.
        with httpx.Client(base_url=service.address["url"]) as client:
            replies.append(client.post("/v1/events", json={"events": [event]}).json())
    last = max(reply["position"] for reply in replies)
    assert eventually(lambda: service.client.get("/v1/state").json()["position"] >= last)
    after = service.client.get("/v1/state").json()
    assert after["applied"] + after["late"] - before["applied"] - before["late"] == 1
    assert after["duplicate"] - before["duplicate"] == 11


def test_reading_ones_own_writes(service: Running) -> None:
    for number in range(20):
        event = {"event_type": "like", "user_id": f"u{number}", "item_id": "i7"}
        position = service.client.post("/v1/events", json={"events": [event]}).json()["position"]
        reply = slate_at(service, position, user_id=f"u{number}")
        assert reply.status_code == 201, reply.text
        assert reply.json()["model"]["position"] >= position


def test_a_position_that_is_not_reached_in_time_is_said_to_be_so(service: Running) -> None:
    began = time.monotonic()
    reply = slate(service, user_id="u1", headers={"X-Min-Position": "999999999"})
    assert_problem(reply, 503, "learner_behind")
    assert int(reply.headers["retry-after"]) >= 1
    assert 0.2 <= time.monotonic() - began < 2.0
    assert_problem(slate(service, user_id="u1", headers={"X-Min-Position": "soon"}), 400, "header_invalid")


def test_a_key_gives_the_same_decision_whichever_worker_answers(service: Running) -> None:
    answers = []
    for _ in range(12):
        with httpx.Client(base_url=service.address["url"]) as client:
            reply = client.post("/v1/recommendations", json={"user_id": "u5"}, headers={"Idempotency-Key": "k-1"})
            assert reply.status_code == 201, reply.text
            answers.append((reply.json()["decision_id"], tuple(i["item_id"] for i in reply.json()["items"])))
        time.sleep(0.02)
    assert len(set(answers)) == 1


def test_a_key_with_another_body_is_refused(service: Running) -> None:
    first = slate(service, user_id="u1", headers={"Idempotency-Key": "k-2"})
    assert first.status_code == 201
    again = slate(service, user_id="u1", headers={"Idempotency-Key": "k-2"})
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    other = slate(service, user_id="u2", headers={"Idempotency-Key": "k-2"})
    assert other.status_code in (409, 422)
    assert other.headers["content-type"] == PROBLEM


def test_a_decision_id_stands_for_one_request(service: Running) -> None:
    first = slate(service, user_id="u1", decision_id="mine-1")
    assert first.json()["decision_id"] == "mine-1"
    assert slate(service, user_id="u1", decision_id="mine-1").json() == first.json()
    assert_problem(slate(service, user_id="u2", decision_id="mine-1"), 409, "decision_conflict")


def test_a_repeated_batch_with_a_key_is_learned_once(service: Running) -> None:
    before = service.client.get("/v1/state").json()
    body = {"events": [{"event_type": "play", "user_id": "u1", "item_id": "i1"}] * 3}
    positions = []
    for _ in range(6):
        with httpx.Client(base_url=service.address["url"]) as client:
            reply = client.post("/v1/events", json=body, headers={"Idempotency-Key": "batch-1"})
            assert reply.status_code == 202
            positions.append(reply.json()["position"])
    assert eventually(lambda: service.client.get("/v1/state").json()["position"] >= max(positions))
    after = service.client.get("/v1/state").json()
    assert after["applied"] + after["late"] - before["applied"] - before["late"] == 3


SLATE_BODIES: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "malformed_json"),
    "not JSON": (b"{user_id: 1}", 400, "malformed_json"),
    "NaN": (b'{"user_id":"u","n":NaN}', 400, "malformed_json"),
    "infinity": (b'{"user_id":"u","n":Infinity}', 400, "malformed_json"),
    "1e999": (b'{"user_id":"u","n":1e999}', 422, "invalid_request"),
    "a lone surrogate": (b'{"user_id":"\\ud800"}', 400, "malformed_json"),
    "not UTF-8": (b'{"user_id":"\xff"}', 400, "malformed_json"),
    "a byte order mark": (b'\xef\xbb\xbf{"user_id":"u"}', 400, "malformed_json"),
    "60,000 levels": (b'{"user_id":' + b"[" * 60_000 + b"]" * 60_000 + b"}", 422, "invalid_request"),
    "60,000 levels of context": (b'{"user_id":"u","context":{"a":' + b"[" * 60_000 + b"]" * 60_000 + b"}}", 422, ""),
    "60,000 levels of object": (b'{"a":' * 60_000 + b"1" + b"}" * 60_000, 422, ""),
    "a key twice": (b'{"user_id":"u","user_id":"v"}', 422, "duplicate_key"),
    "a key twice with null": (b'{"user_id":"u","context":null,"context":null}', 422, "duplicate_key"),
    "no user": (b"{}", 422, "invalid_request"),
    "a null user": (b'{"user_id":null}', 422, "invalid_request"),
    "a boolean user": (b'{"user_id":true}', 422, "invalid_request"),
    "an empty user": (b'{"user_id":""}', 422, "invalid_request"),
    "a 10 kB user": (b'{"user_id":"' + b"x" * 10_000 + b'"}', 422, "invalid_request"),
    "a NUL in the user": (b'{"user_id":"a\\u0000"}', 422, "invalid_request"),
    "a 5,000-digit user": (b'{"user_id":' + b"9" * 5_000 + b"}", 422, "invalid_request"),
    "zero items": (b'{"user_id":"u","n":0}', 422, "invalid_request"),
    "a million items": (b'{"user_id":"u","n":1000000}', 422, "invalid_request"),
    "half an item": (b'{"user_id":"u","n":0.5}', 422, "invalid_request"),
    "a string for a number": (b'{"user_id":"u","n":"10"}', 422, "invalid_request"),
    "no candidates": (b'{"user_id":"u","candidates":[]}', 422, "invalid_request"),
    "a far future": (b'{"user_id":"u","asked_at":"2999-01-01T00:00:00Z"}', 422, "invalid_request"),
    "an unknown field": (b'{"user_id":"u","user":"u"}', 422, "invalid_request"),
    "a list": (b"[]", 422, "invalid_request"),
    "a context of lists": (b'{"user_id":"u","context":{"a":[1]}}', 422, "invalid_request"),
    "100,000 candidates": (
        b'{"user_id":"u","candidates":[' + b",".join(b"%d" % n for n in range(100_000)) + b"]}",
        422,
        "invalid_request",
    ),
}


@pytest.mark.parametrize("name", SLATE_BODIES)
def test_a_bad_body_is_a_problem_that_names_its_place(service: Running, name: str) -> None:
    body, status, code = SLATE_BODIES[name]
    reply = service.client.post(
        "/v1/recommendations", content=body, headers={"content-type": "application/json", "x-request-id": "mine"}
    )
    if code:
        problem = assert_problem(reply, status, code)
        assert problem["request_id"] == "mine"
        if code == "invalid_request":
            assert problem["errors"] and "pointer" in problem["errors"][0]
    else:
        assert 400 <= reply.status_code < 500
        assert reply.headers["content-type"] == PROBLEM


@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/events", "/v1/items"])
def test_no_post_answers_a_bad_body_with_a_defect(service: Running, path: str) -> None:
    for body, _, _ in SLATE_BODIES.values():
        reply = service.client.post(path, content=body, headers={"content-type": "application/json"})
        assert 400 <= reply.status_code < 500, (body[:80], reply.text)
        assert reply.headers["content-type"] == PROBLEM


def test_a_faulty_id_is_named_the_same_in_every_call(service: Running) -> None:
    for path, body, pointer in (
        ("/v1/recommendations", {"user_id": ""}, "/user_id"),
        ("/v1/recommendations", {"user_id": "u", "exclude": ["a", ""]}, "/exclude/1"),
        ("/v1/items", {"items": [{"item_id": "a"}, {"item_id": ""}]}, "/items/1/item_id"),
    ):
        problem = assert_problem(service.client.post(path, json=body), 422, "invalid_request")
        assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [(pointer, "empty_id")]
    rejected = service.client.post(
        "/v1/events", json={"events": [{"event_type": "play", "user_id": "", "item_id": "i1"}]}
    ).json()["rejected"]
    assert [one["code"] for one in rejected] == ["empty_id"]


def test_what_is_no_json_is_refused_by_its_kind(service: Running) -> None:
    for headers in (
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ):
        reply = service.client.post("/v1/recommendations", content=b'{"user_id":"u"}', headers=headers)
        assert_problem(reply, 415, "unsupported_media_type")
        assert reply.headers["connection"] == "close"
    kind = "application/json; charset=utf-8"
    assert service.client.post(
        "/v1/recommendations", content=b'{"user_id":"u"}', headers={"content-type": kind}
    ).is_success


@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/events", "/v1/items"])
def test_a_body_beyond_the_limit_is_refused_declared_or_not(service: Running, path: str) -> None:
    headers = {"content-type": "application/json"}
    body = b'{"user_id":"' + b"x" * 10_000_000 + b'"}'
    assert_problem(service.client.post(path, content=body, headers=headers), 413, "body_too_large")

    def chunks() -> Any:
        for _ in range(100):
            yield b" " * 100_000

    try:
        reply = service.client.post(path, content=chunks(), headers=headers)
    except httpx.WriteError:
        return  # refused and closed before all of it was sent, which is as good
    assert_problem(reply, 413, "body_too_large")


def _connect(service: Running) -> socket.socket:
    host, port = service.address["url"].removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30.0)


def test_what_is_not_http_is_a_problem_and_endless_headers_are_cut(service: Running) -> None:
    for sent, status in (
        (b"\x16\x03\x01 hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"x-a: " + b"a" * 200_000, 431),
    ):
        with _connect(service) as connection:
            connection.sendall(sent)
            reply = connection.recv(65_536)
            assert reply.startswith(f"HTTP/1.1 {status} ".encode()), reply[:200]
            assert PROBLEM.encode() in reply
            assert json.loads(reply.split(b"\r\n\r\n", 1)[1])["status"] == status


def test_slow_senders_are_cut_and_nobody_else_notices(service: Running) -> None:
    slow_heads = [_connect(service) for _ in range(800)]
    slow_bodies = [_connect(service) for _ in range(200)]
    for connection in slow_heads:
        connection.sendall(b"POST /v1/events HTTP/1.1\r\n")
    for connection in slow_bodies:
        connection.sendall(
            b"POST /v1/events HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        )
    began = time.monotonic()
    while time.monotonic() - began < 8.0:
        assert slate(service, user_id="u1").status_code == 201
        for connection in slow_heads + slow_bodies:
            connection.sendall(b"x")
        time.sleep(1.0)
    for connection in slow_heads:
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 14.0
    for connection in slow_bodies:
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 20.0
    for connection in slow_heads + slow_bodies:
        connection.close()


def test_unknown_addresses_and_methods_are_problems(service: Running) -> None:
    assert_problem(service.client.get("/nowhere"), 404, "not_found")
    assert_problem(service.client.get("/v1/recommendations/"), 404, "not_found")
    reply = service.client.delete("/v1/events")
    assert_problem(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "POST"


def test_a_request_id_is_echoed_where_it_can_be_and_made_where_not(service: Running) -> None:
    for path in ("/livez", "/nowhere"):
        assert service.client.get(path, headers={"x-request-id": "abc"}).headers["x-request-id"] == "abc"
        assert len(service.client.get(path, headers={"x-request-id": "x" * 500}).headers["x-request-id"]) < 64
        assert service.client.get(path).headers["x-request-id"]


def test_items_are_known_to_decisions_from_their_first_word_on(service: Running) -> None:
    put = service.client.put("/v1/items/new%2Fitem", json={"title": "A new one", "features": {"genre": ["drama"]}})
    assert put.status_code == 200, put.text
    reply = slate_at(service, put.json()["position"], user_id="u1", candidates=["new/item"])
    assert [item["item_id"] for item in reply.json()["items"]] == ["new/item"]


def test_an_item_that_is_not_available_is_not_shown(service: Running) -> None:
    gone = {"item_id": "gone", "available_until": "2020-01-01T00:00:00Z"}
    position = service.client.post("/v1/items", json=gone).json()["position"]
    reply = slate_at(service, position, user_id="u1", candidates=["gone", "i1"])
    assert [item["item_id"] for item in reply.json()["items"]] == ["i1"]


def test_a_faulty_item_names_its_place_and_takes_the_whole_call_back(service: Running) -> None:
    before = service.client.get("/v1/state").json()["log_head"]
    body = {"items": [{"item_id": "good"}, {"item_id": "bad", "available_from": "tomorrow"}]}
    problem = assert_problem(service.client.post("/v1/items", json=body), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/items/1/available_from"
    backwards = {"item_id": "x", "available_from": 2_000_000_000, "available_until": 1_000_000_000}
    assert_problem(service.client.post("/v1/items", json=backwards), 422, "invalid_request")
    big = {"item_id": "x", "features": {"size": 2**60}}
    assert_problem(service.client.post("/v1/items", json=big), 422, "invalid_request")
    assert service.client.get("/v1/state").json()["log_head"] == before


def test_the_document_of_the_api_holds_no_dangling_reference_and_every_example_works(service: Running) -> None:
    document = service.client.get("/openapi.json").json()
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert names <= set(document["components"]["schemas"])
    sent, ids = 0, {"item_id": "film-1", "flight_id": "LX-2084-0301"}
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            assert described["summary"]
            content = described.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            sent += 1
            reply = service.client.request(method, path.format_map(ids), json=content["example"])
            assert str(reply.status_code) in described["responses"], reply.text
            assert reply.is_success, reply.text
            example = described["responses"][str(reply.status_code)]["content"]["application/json"]["example"]
            assert set(example) == set(reply.json())
            ids |= {name: value for name, value in reply.json().items() if name in ("quote_id", "booking_id")}
    assert sent >= 4


def test_state_and_experiment_have_the_shape_of_the_contract(service: Running) -> None:
    state = service.client.get("/v1/state").json()
    assert set(state) >= {
        "position",
        "digest",
        "artifact",
        "learning",
        "received",
        "applied",
        "duplicate",
        "late",
        "rejected",
        "freshness_ms",
    }
    assert re.fullmatch(r"[0-9a-f]{32}", state["digest"])
    assert state["learning"] == "on"
    assert set(state["freshness_ms"]) == {"p50", "p99"}
    experiment = service.client.get("/v1/experiment").json()
    assert [arm["arm"] for arm in experiment["arms"]] == ["live", "champion"]
    assert experiment["verdict"] in ("live is better", "champion is better", "undecided", "no data")


def test_health_says_what_it_found(service: Running) -> None:
    assert service.client.get("/livez").json()["live"] is True
    ready = service.client.get("/readyz")
    assert ready.status_code == 200
    assert {check["name"] for check in ready.json()["checks"]} >= {"log", "parameters", "learner"}


def test_metrics_add_up_over_the_workers_and_hold_no_ids(service: Running) -> None:
    def answered() -> float:
        text = service.client.get("/metrics").text
        lines = [line for line in text.splitlines() if line.startswith("perennial_http_requests_total{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if 'call="recommendations"' in line)

    before = answered()
    for _ in range(10):
        with httpx.Client(base_url=service.address["url"]) as client:
            client.post("/v1/recommendations", json={"user_id": "canary-user"})
    assert answered() - before == 10
    text = service.client.get("/metrics").text
    assert "canary-user" not in text
    for name in ("perennial_events_total", "perennial_learner_lag_records", "perennial_freshness_seconds"):
        assert name in text


def test_the_pages_fetch_nothing_from_elsewhere(service: Running) -> None:
    for path in ("/", "/docs", "/problems", "/problems/malformed_json"):
        page = service.client.get(path)
        assert page.status_code == 200
        assert not re.search(r"""(src|href)=["'](https?:)?//""", page.text), path
    assert_problem(service.client.get("/problems/none"), 404, "problem_unknown")
