"""What the service promises while parts of it are dead, and that nothing of it is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from online.publication import shared_folder
from tests.api.conftest import ROOT, START_S, Running, alive, eventually


def events(*ids: str) -> dict[str, Any]:
    return {
        "events": [{"event_id": one, "event_type": "play", "user_id": f"user {one}", "item_id": "i1"} for one in ids]
    }


def settled(service: Running) -> dict[str, Any]:
    """The state once the learner has caught up with the log."""

    def caught_up() -> bool:
        reply = service.client.get("/v1/state")
        return reply.status_code == 200 and reply.json()["position"] >= reply.json()["log_head"]

    assert eventually(caught_up, within_s=START_S)
    state: dict[str, Any] = service.client.get("/v1/state").json()
    return state


def try_post(service: Running, path: str, body: Any) -> httpx.Response | None:
    try:
        return service.client.post(path, json=body)
    except httpx.TransportError:
        return None


def test_what_was_acknowledged_survives_the_death_of_each_part_and_is_counted_once(
    start_service: Callable[..., Running],
) -> None:
    service = start_service("home", "--workers", "2")
    service.fill(items=20, users=10)
    before = settled(service)
    acknowledged: list[str] = []
    for round_number, part in enumerate(("api.worker", "online.learner", "valkey", "api.worker")):
        pid = service.pid_of(part)
        ids = [f"{round_number}-{n}" for n in range(30)]
        for n, one in enumerate(ids):
            if n == 10:
                os.kill(pid, signal.SIGKILL)

            # A client that retries until it is told 202: the same id each time.
            def accepted(one: str = one) -> bool:
                reply = try_post(service, "/v1/events", events(one))
                return reply is not None and reply.status_code == 202

            assert eventually(accepted, within_s=START_S), service.said()[-2000:]
            acknowledged.append(one)
        assert eventually(lambda gone=pid: not alive(gone))
    assert eventually(lambda: service.client.get("/readyz").status_code == 200, within_s=START_S)
    after = settled(service)
    assert after["applied"] + after["late"] - before["applied"] - before["late"] == len(acknowledged)
    assert after["received"] == after["applied"] + after["duplicate"] + after["late"] + after["rejected"]
    assert service.stop() == 0


def test_decisions_flow_and_feedback_is_refused_while_the_log_is_away(start_service: Callable[..., Running]) -> None:
    service = start_service()
    service.fill(items=20, users=10)
    server = service.pid_of("valkey")
    os.kill(server, signal.SIGSTOP)  # a server that hangs: nothing is refused, nothing answers
    try:
        slate = service.client.post("/v1/recommendations", json={"user_id": "u1"})
        assert slate.status_code == 201
        assert slate.json()["model"]["recorded"] is False
        assert len(slate.json()["items"]) == 10
        refused = service.client.post("/v1/events", json=events("while away"))
        assert refused.status_code == 503
        assert refused.json()["code"] == "log_unavailable"
        assert int(refused.headers["retry-after"]) >= 1
        took = []
        for n in range(20):
            began = time.monotonic()
            assert service.client.post("/v1/recommendations", json={"user_id": f"u{n}"}).status_code == 201
            took.append(time.monotonic() - began)
        assert sorted(took)[10] < 0.1, took
        ready = service.client.get("/readyz")
        assert ready.status_code == 503
        assert "log" in {check["name"] for check in ready.json()["checks"] if not check["ok"]}
        assert service.client.get("/livez").status_code == 200
    finally:
        os.kill(server, signal.SIGCONT)
    assert eventually(lambda: service.client.post("/v1/events", json=events("while away")).status_code == 202)
    slate = service.client.post("/v1/recommendations", json={"user_id": "u1"})
    assert slate.json()["model"]["recorded"] is True


def test_a_log_that_will_not_start_is_tried_again_and_takes_nothing_else_down(
    start_service: Callable[..., Running],
) -> None:
    service = start_service("home")
    service.fill(items=20, users=10)
    before = settled(service)
    manifest = service.home / "log" / "appendonlydir" / "appendonly.aof.manifest"
    content = manifest.read_bytes()
    manifest.write_bytes(b"no manifest\n")  # as a disk that is full or spoilt may leave it
    os.kill(service.pid_of("valkey"), signal.SIGKILL)
    assert eventually(lambda: service.said().count("does not start") > 1, within_s=60.0), service.said()[-2_000:]
    body = {"user_id": "u1", "n": 3}
    reply = try_post(service, "/v1/recommendations", body)
    assert reply is not None and reply.status_code == 201 and len(reply.json()["items"]) == 3
    refused = try_post(service, "/v1/events", events("late"))
    assert refused is not None and refused.status_code == 503
    manifest.write_bytes(content)

    def accepted() -> bool:
        reply = try_post(service, "/v1/events", events("late"))
        return reply is not None and reply.status_code == 202

    assert eventually(accepted, within_s=60.0), service.said()[-2_000:]
    after = settled(service)
    assert after["applied"] == before["applied"] + 1 and after["position"] > before["position"]


def test_decisions_flow_while_the_learner_is_dead_and_learning_goes_on_after_it(
    start_service: Callable[..., Running],
) -> None:
    service = start_service()
    service.fill(items=20, users=10)
    before = settled(service)
    os.kill(service.pid_of("online.learner"), signal.SIGKILL)
    for n in range(50):
        assert service.client.post("/v1/recommendations", json={"user_id": f"u{n}"}).status_code == 201
        assert service.client.post("/v1/events", json=events(f"dead-{n}")).status_code == 202
    assert eventually(lambda: service.client.get("/v1/state").json()["position"] > before["position"], within_s=START_S)
    assert settled(service)["applied"] - before["applied"] == 50


def test_a_restart_changes_nothing(start_service: Callable[..., Running]) -> None:
    first = start_service()
    first.fill(items=20, users=10)
    decision = first.client.post("/v1/recommendations", json={"user_id": "u1"}).json()
    before = settled(first)
    children = first.children()
    assert len(children) == 3
    assert first.stop(signal.SIGTERM) == 0
    assert eventually(lambda: not any(map(alive, children)))
    assert not shared_folder(first.home).exists()
    assert not (first.home / "run" / "address.json").exists()
    second = start_service()
    after = settled(second)
    for field in ("position", "digest", "received", "applied", "duplicate", "late", "rejected"):
        assert after[field] == before[field], field
    found = second.client.get(f"/v1/decisions/{decision['decision_id']}").json()
    assert found["items"] == decision["items"]
    verified = _perennial("verify", "--home", str(second.home), "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert '"identical": true' in verified.stdout
    created = _perennial("snapshot", "create", "--home", str(second.home), "--label", "kept", "--json")
    assert created.returncode == 0, created.stderr
    assert json.loads(created.stdout)["state_digest"] == settled(second)["digest"]
    listed = json.loads(_perennial("snapshot", "list", "--home", str(second.home), "--json").stdout)
    assert [(one["position"], one["label"]) for one in listed][-1] == (after["position"], "kept")
    checked = _perennial("snapshot", "verify", "--home", str(second.home), "--json")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind(start_service: Callable[..., Running], number: int) -> None:
    service = start_service()
    children = service.children()
    assert len(children) == 3
    service.stop(number)
    assert eventually(lambda: not any(map(alive, children)), within_s=30.0), children
    again = start_service()
    assert again.client.get("/readyz").status_code == 200


def test_two_services_on_one_home_are_refused(start_service: Callable[..., Running]) -> None:
    service = start_service()
    second = _up("--home", str(service.home), "--port", "0")
    assert second.returncode == 3
    assert "served already" in second.stderr


def test_a_host_that_others_can_reach_is_refused_without_keys(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        refused = _up("--home", str(tmp_path / "home"), "--host", host)
        assert refused.returncode == 3
        assert "no keys are configured" in refused.stderr
    assert not (tmp_path / "home").exists()


def test_a_port_that_is_taken_is_said_to_be_so(start_service: Callable[..., Running], tmp_path: Path) -> None:
    service = start_service()
    port = service.address["url"].rsplit(":", 1)[1]
    refused = _up("--home", str(tmp_path / "other"), "--port", port)
    assert refused.returncode == 3
    assert "--port" in refused.stderr


def _up(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return _perennial("up", *arguments)


def _perennial(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "api.command", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
