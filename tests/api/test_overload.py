"""More than can be answered: refused at once and by class, nothing acknowledged is lost, over when it is over."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection

import pytest

from api.load import Load
from benchmarks.overload import measure
from tests.api.conftest import Running, eventually


@pytest.mark.slow
def test_a_flood_is_refused_by_class_and_nothing_acknowledged_is_lost(start_service: Callable[..., Running]) -> None:
    """`make overload` is the long form; its figures mean something only where nothing else runs."""
    service = start_service()
    service.fill(items=200, users=100)
    found = asyncio.run(measure(service.address["url"], seconds=5.0, factor=5.0))
    calm, flood, after = found["stretches"]
    print(f"goodput {found['goodput']:.0%} of the peak, {found['acknowledged']} acknowledged; {flood['answers']}")
    assert found["acknowledged"] > 100 and found["acknowledged_lost"] == 0
    statuses = {status for stretch in found["stretches"] for kind in stretch["answers"].values() for status in kind}
    assert statuses <= {"200", "201", "202", "503"}
    assert all(one["refused_without_pause"] == one["lost"] == 0 for one in found["stretches"])
    assert calm["refused"] == after["refused"] == 0
    assert flood["refused"] > 0, "the flood was none"
    refused = {kind: answers.get("503", 0) / sum(answers.values()) for kind, answers in flood["answers"].items()}
    assert refused["figures"] > refused["slate"] >= refused["event"]
    assert found["goodput"] > 0.5 and found["after"] > 0.5


def test_who_waits_at_the_gate_is_let_in_while_the_worker_is_busy(start_service: Callable[..., Running]) -> None:
    """300 connections at once, beside clients that keep the worker busy: each has its answer in a few seconds."""
    service = start_service()
    service.fill(items=200, users=100)
    host, port = service.address["url"].removeprefix("http://").split(":")
    asked = b"POST /v1/recommendations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    body = b'{"user_id":"u1","n":50}'
    asked += b"content-length: %d\r\n\r\n" % len(body) + body
    over = threading.Event()

    def busy() -> None:
        with contextlib.closing(HTTPConnection(host, int(port), timeout=30.0)) as connection:
            while not over.is_set():
                connection.request("POST", "/v1/recommendations", body, {"content-type": "application/json"})
                connection.getresponse().read()

    threads = [threading.Thread(target=busy) for _ in range(64)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    waiting = [socket.create_connection((host, int(port)), timeout=30.0) for _ in range(300)]
    for connection in waiting:
        connection.sendall(asked)
    assert all(connection.recv(65_536).startswith(b"HTTP/1.1 ") for connection in waiting)
    took = time.monotonic() - began
    over.set()
    for thread in threads:
        thread.join()
    for connection in waiting:
        connection.close()
    assert took < 15.0, took


def test_whether_it_lives_is_always_told_and_acts_come_before_lists() -> None:
    load = Load()
    load.busy = 10_000
    assert load.most("GET", None) is None
    lists, slates, feedback = load.most("GET", "operate"), load.most("POST", "decide"), load.most("POST", "feedback")
    assert lists is not None and slates is not None and feedback is not None
    assert lists < slates < feedback == load.most("POST", "admin")
    problem = load.refuse()
    assert (problem.status, problem.kind.code) == (503, "overloaded") and problem.retry_after_s in (1, 2, 3)


def test_a_stream_without_an_end_is_not_taken_for_work(start_service: Callable[..., Running]) -> None:
    service = start_service()
    host, port = service.address["url"].removeprefix("http://").split(":")
    listening = [socket.create_connection((host, int(port)), timeout=30.0) for _ in range(120)]
    for connection in listening:
        connection.sendall(b"GET /dashboard/stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert service.client.get("/v1/state").status_code == 200
    for connection in listening:
        connection.close()
    assert eventually(lambda: service.client.get("/v1/state").status_code == 200)
