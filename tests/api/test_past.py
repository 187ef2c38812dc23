"""Time travel on a real service: decisions reproduced, rollbacks and surgery under load, erasure, all verified."""

import csv
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from online.log import LogReader
from tests.api.conftest import ROOT, Running, eventually

Start = Callable[..., Running]


def perennial(home: Path, *arguments: str, code: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "api.command", *arguments, "--home", str(home), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def use(service: Running, rounds: int, *, seed: int = 0) -> list[str]:
    """Viewers ask and click; the ids of the decisions."""
    decided = []
    for k in range(rounds):
        n = seed + k
        body = {"user_id": f"u{n % 17}", "n": 5, "context": {"device": "tv" if n % 2 else "phone"}}
        slate = service.client.post("/v1/recommendations", json=body)
        assert slate.status_code == 201, slate.text
        decided.append(slate.json()["decision_id"])
        item = slate.json()["items"][n % 5]["item_id"]
        event = {
            "event_id": f"click-{n}",
            "event_type": "click",
            "user_id": f"u{n % 17}",
            "item_id": item,
            "decision_id": decided[-1],
        }
        reply = service.client.post("/v1/events", json={"events": [event]})
        assert reply.status_code == 202, reply.text
    return decided


def state(service: Running) -> dict[str, Any]:
    """/v1/state, once all is learned."""

    def settled() -> bool:
        now = service.client.get("/v1/state").json()
        return bool(now["learned_position"] >= now["log_head"] and now["position"] == now["learned_position"])

    assert eventually(settled, within_s=60.0)
    found: dict[str, Any] = service.client.get("/v1/state").json()
    return found


def rollback(service: Running, **body: Any) -> dict[str, Any]:
    reply = service.client.post("/v1/rollbacks", json={"reason": "a test", **body}, timeout=120.0)
    assert reply.status_code == 200, reply.text
    done: dict[str, Any] = reply.json()
    return done


@pytest.fixture(scope="module")
def travelled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service with a past, shared by the tests that leave its state as they find it."""
    running = Running(tmp_path_factory.mktemp("past") / "home", "--workers", "2")
    try:
        running.fill(items=40, users=17)
        decided = use(running, 60)
        yield running, decided
    finally:
        running.stop()


def test_every_decision_is_reproduced_byte_for_byte(travelled: tuple[Running, list[str]]) -> None:
    service, decided = travelled
    for decision_id in decided[::6]:
        found = service.client.post(f"/v1/decisions/{decision_id}/reproduce", timeout=120.0)
        assert found.status_code == 200, found.text
        assert found.json()["identical"] and found.json()["promised"] and not found.json()["differences"]
        assert found.json()["digest"] == found.json()["expected_digest"]
    assert perennial(service.home, "reproduce", decided[-1])["identical"]
    many = perennial(service.home, "reproduce", "--sample", "1000")
    assert many["compared"] == many["identical"] >= len(decided) and not many["different"]
    assert perennial(service.home, "reproduce", decided[0], "--from-artifact")["identical"]
    unknown = service.client.post("/v1/decisions/nobody/reproduce")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "decision_unknown")
    assert "no decision" in perennial(service.home, "reproduce", "nobody", code=3)


def test_snapshots_are_taken_listed_shown_and_compared(travelled: tuple[Running, list[str]]) -> None:
    service, _ = travelled
    first = service.client.post("/v1/snapshots", json={"label": "before"}, timeout=120.0)
    assert first.status_code == 201, first.text
    assert first.json()["state_digest"] == state(service)["digest"]
    use(service, 5, seed=1_000)
    second = service.client.post("/v1/snapshots", json={}, timeout=120.0).json()
    assert second["parent"] == first.json()["id"]
    assert second["depth"] > 0 and second["bytes"] < 0.05 * max(first.json()["bytes"], 1_000_000)
    assert service.client.get(f"/v1/snapshots/{second['id']}").json() == second
    assert service.client.get("/v1/snapshots/nothing").json()["code"] == "snapshot_unknown"
    listed = service.client.get("/v1/snapshots").json()
    assert [s["id"] for s in listed["snapshots"]][-2:] == [first.json()["id"], second["id"]]
    assert all(one["ok"] for one in perennial(service.home, "snapshot", "verify"))
    diff = perennial(service.home, "snapshot", "diff", first.json()["id"], second["id"])
    assert 0 < diff["users"]["changed"] <= 17 and diff["items"]["changed"] > 0 and diff["parameters"]
    foreign = service.home / "snapshots" / "0123456789abcdef.json"
    foreign.write_text('{"format": 3, "position": 9}')
    assert perennial(service.home, "verify")["identical"], "what another version wrote is passed over"
    assert "rollback --to-position 9" in perennial(service.home, "snapshot", "show", foreign.stem, code=1)
    foreign.unlink()


def test_what_cannot_be_done_is_refused_before_anything_changes(travelled: tuple[Running, list[str]]) -> None:
    service, _ = travelled
    before = state(service)
    for body, status, code in (
        ({"to": {"position": 10**9}}, 409, "history_refused"),
        ({"to": {"snapshot": "0123456789abcdef"}}, 404, "snapshot_unknown"),
        ({"to": {"time": "1990-01-01T00:00:00Z"}}, 409, "history_refused"),
        ({"without": {"users": ["never-seen"]}}, 409, "history_refused"),
        ({"without": {}}, 422, "invalid_request"),
        ({"to": {}}, 422, "invalid_request"),
        ({"to": {"position": 5, "time": 7}}, 422, "invalid_request"),
        ({}, 409, "history_refused"),
        ({"to": {"position": 5}, "expected_position": 10**6}, 409, "act_overtaken"),
    ):
        refused = service.client.post("/v1/rollbacks", json=body, timeout=60.0)
        assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
    promotion = {"act": "promote", "artifact": "0" * 16, "reason": "a test"}
    unknown = service.client.post("/v1/acts", json=promotion, timeout=60.0)
    assert unknown.status_code == 409, unknown.text
    dry = rollback(service, to={"position": before["position"] - 20}, dry_run=True)
    assert dry["position"] is None and dry["removed"] > 0 and dry["compared_decisions"] > 0
    assert dry["top"]["before"] and dry["digest"] != before["digest"]
    assert state(service) | {"freshness_ms": 0} == before | {"freshness_ms": 0}


def test_back_and_forth_under_load_no_request_fails_and_every_digest_is_the_one_it_was(start_service: Start) -> None:
    service = start_service("home", "--workers", "2")
    service.fill(items=40, users=17)
    use(service, 30)
    early = state(service)
    label = service.client.post("/v1/snapshots", json={"label": "early"}, timeout=120.0).json()
    decided = use(service, 30, seed=30)
    late = state(service)

    back = rollback(service, to={"snapshot": label["id"]})
    assert back["digest"] == early["digest"] and back["removed"] >= 60
    assert state(service)["digest"] == early["digest"]
    undone = rollback(service, to={"position": back["from"]})
    assert undone["digest"] == late["digest"] and undone["restored"] == back["removed"]

    statuses: list[int] = []
    stop = threading.Event()

    def load() -> None:
        with httpx.Client(base_url=service.address["url"], timeout=30.0) as client:
            n = 0
            while not stop.is_set():
                n += 1
                body = {"user_id": f"u{n % 17}", "n": 5}
                statuses.append(client.post("/v1/recommendations", json=body).status_code)
                event = {"event_id": f"load-{n}", "event_type": "play", "user_id": f"u{n % 17}", "item_id": "i3"}
                statuses.append(client.post("/v1/events", json={"events": [event]}).status_code)

    loading = threading.Thread(target=load)
    loading.start()
    try:
        cut = rollback(service, without={"users": ["u3"], "events": ["click-7"]})
        again = rollback(service, to={"position": cut["from"]})
        frozen = service.client.post("/v1/acts", json={"act": "freeze", "reason": "a test"}).json()
        learned = perennial(service.home, "resume", "--learn")
    finally:
        stop.set()
        loading.join()
    assert set(statuses) == {201, 202} and len(statuses) > 20
    assert cut["removed"] > 10 and cut["changed_decisions"] <= cut["compared_decisions"]
    assert again["position"] < frozen["position"] < learned["position"]
    assert state(service)["learning"] == "on"
    acts = service.client.get("/v1/acts").json()["acts"]
    assert [act["act"] for act in acts] == ["rollback", "rollback", "rollback", "rollback", "freeze", "resume"]
    assert not any(act["void"] for act in acts)

    # The past that was left stays to be looked at, and the whole log gives the same digests again.
    for decision_id in (decided[0], decided[-1]):
        assert service.client.post(f"/v1/decisions/{decision_id}/reproduce", timeout=120.0).json()["identical"]
    assert perennial(service.home, "verify")["identical"]
    before = state(service)["digest"]
    assert service.stop() == 0
    restarted = start_service("home")
    assert state(restarted)["digest"] == before
    assert perennial(restarted.home, "verify")["identical"]


def test_an_erased_user_is_nowhere_any_more_and_the_service_never_saw_them(start_service: Start) -> None:
    service = start_service("home")
    service.fill(items=40, users=5)
    ghost = {"user_id": "the-ghost-of-room-9", "n": 5}
    decision_id = service.client.post("/v1/recommendations", json=ghost).json()["decision_id"]
    event = {"event_id": "g1", "event_type": "play", "user_id": ghost["user_id"], "item_id": "i7"}
    assert service.client.post("/v1/events", json={"events": [event]}).status_code == 202
    decided = use(service, 20)
    service.client.post("/v1/snapshots", json={"label": "with the ghost"}, timeout=120.0)
    body = {"act": "erase", "user_id": ghost["user_id"], "reason": "asked for"}
    for _ in range(2):  # sent again, it is one act
        erased = service.client.post("/v1/acts", json=body, headers={"Idempotency-Key": "e"}, timeout=120.0)
        assert erased.status_code == 200, erased.text
    assert erased.json()["removed"] == 2
    assert state(service)["digest"] == erased.json()["digest"]
    receipt = json.loads((service.home / "receipts" / f"erase-{erased.json()['position']}.json").read_bytes())
    assert receipt["erased_records"] == 2 and receipt["state_digest_after"] == erased.json()["digest"]
    assert receipt["snapshots_removed"]

    assert service.client.get(f"/v1/decisions/{decision_id}").status_code == 404
    later = service.client.post(f"/v1/decisions/{decided[-1]}/reproduce", timeout=120.0).json()
    assert not later["promised"] and "erased" in later["why"]
    assert perennial(service.home, "verify")["identical"]
    service.stop()
    for path in service.home.rglob("*"):
        if path.is_file() and path.name != "server.log":
            assert ghost["user_id"].encode() not in path.read_bytes(), path
    restarted = start_service("home")
    assert state(restarted)["digest"] == erased.json()["digest"]


def test_an_archived_past_is_travelled_like_any_other(start_service: Start) -> None:
    service = start_service("home", "--log-kept", "1000", "--snapshot-every", "1")
    service.fill(items=40, users=17)
    decided = use(service, 20)
    for k in range(5):
        events = [
            {"event_id": f"m{k}-{n}", "event_type": "play", "user_id": f"u{n % 17}", "item_id": f"i{n * k % 40}"}
            for n in range(600)
        ]
        assert service.client.post("/v1/events", json={"events": events}).status_code == 202
    reader = LogReader(service.address["log_url"])

    def trimmed() -> bool:
        use(service, 1, seed=10_000 + int(time.monotonic() * 1e3) % 10**6)
        return reader.first() > 1_000

    assert eventually(trimmed, within_s=90.0), service.said()[-2000:]
    reader.close()
    before = state(service)
    assert service.client.post(f"/v1/decisions/{decided[3]}/reproduce", timeout=120.0).json()["identical"]
    assert perennial(service.home, "reproduce", decided[0], "--from-artifact")["identical"]
    verified = perennial(service.home, "verify")
    assert verified["identical"] and verified["archived"] >= 1_000 and verified["archive_digest"]
    cut = rollback(service, without={"users": ["u4"]})
    assert rollback(service, to={"position": cut["from"]})["digest"] == before["digest"]
    body = {"act": "erase", "user_id": "u5", "reason": "asked for"}
    erased = service.client.post("/v1/acts", json=body, timeout=120.0)
    assert erased.status_code == 200, erased.text
    assert perennial(service.home, "verify")["identical"]
    digest = state(service)["digest"]
    service.stop()
    segment = sorted((service.home / "archive").glob("*.parquet"))[0]
    restarted = start_service("home")
    assert state(restarted)["digest"] == digest
    content = bytearray(segment.read_bytes())
    content[200] ^= 1
    segment.write_bytes(content)
    assert segment.name in perennial(restarted.home, "verify", code=1)


def pretrained(folder: Path, *, step: int) -> Path:
    """A small artifact: users walk a ring of items in steps of `step`."""
    past = folder.with_suffix(".csv")
    with past.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "timestamp"])
        for user in range(60):
            for k in range(12):
                writer.writerow([f"u{user}", f"i{(user + k * step) % 40}", 1_700_000_000 + 900 * user + 60 * k])
    command = [sys.executable, "-m", "api.command", "pretrain", "recommendation", "--interactions", str(past)]
    command += ["--out", str(folder), "--epochs", "2", "--device", "cpu", "--json"]
    trained = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stderr
    return folder


def test_a_promoted_artifact_has_learned_what_was_learned_live(start_service: Start, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    first, second = (pretrained(tmp_path / f"artifact-{step}", step=step) for step in (1, 7))
    service = start_service("home", "--artifact", str(first))
    service.fill(items=40, users=17)
    decided = use(service, 40)
    before = state(service)
    dry = perennial(service.home, "promote", str(second), "--dry-run")
    assert dry["dry_run"] and dry["to"] == 0 and state(service)["digest"] == before["digest"]
    done = perennial(service.home, "promote", str(second), "--reason", "weekly")
    now = state(service)
    assert now["artifact"] != before["artifact"] and now["digest"] == done["digest"] == dry["digest"]
    assert now["received"] == before["received"], "what was learned live is learned again"
    decided += use(service, 20, seed=40)
    arms = {service.client.get(f"/v1/decisions/{one}").json()["model"]["arm"] for one in decided}
    assert arms == {"live", "champion"} or len(arms) == 1
    for decision_id in (decided[0], decided[39], decided[40], decided[-1]):
        found = service.client.post(f"/v1/decisions/{decision_id}/reproduce", timeout=120.0).json()
        assert found["identical"], found
    assert service.client.get(f"/v1/decisions/{decided[-1]}").json()["model"]["artifact"] == now["artifact"]
    back = rollback(service, to={"position": done["from"]})
    assert back["digest"] == before["digest"] and state(service)["artifact"] == before["artifact"]
    rollback(service, to={"position": back["from"]})
    digest = state(service)["digest"]
    assert perennial(service.home, "verify")["identical"]
    learner = service.pid_of("online.learner")
    assert len(os.listdir(f"/proc/{learner}/task")) == 1, "a snapshot beside the fold is a fork: one thread only"
    service.stop()
    restarted = start_service("home")
    assert state(restarted)["digest"] == digest
