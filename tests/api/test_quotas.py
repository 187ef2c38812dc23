"""Limits of keys: counted by all workers together, told to those who ask, and nothing to those who have none."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import door as doors
from api.door import Door
from api.keys import KeyRefused, create_key, keys_file, read_keys, revoke_key
from api.problems import Problem
from api.quotas import LockBusy, QuotaInvalid, Quotas, Windows, read_quota
from tests.api.conftest import ROOT
from tests.api.test_command import perennial
from tests.api.test_door import HERE, Clock, bearer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(doors, "_LOOK_EVERY_S", 0.0)
    return Clock()


def refused(quotas: Quotas, key_id: str = "k") -> Problem | None:
    try:
        quotas.count(key_id)
    except Problem as problem:
        return problem
    return None


@pytest.mark.parametrize("text", ["", "many", "0/second", "-1/second", "5/fortnight", "5", "5/second/second", "1" * 99])
def test_what_is_no_limit_is_refused_where_the_key_is_made(tmp_path: Path, text: str) -> None:
    with pytest.raises(QuotaInvalid, match="200/second"):
        read_quota(text)
    with pytest.raises(KeyRefused):
        create_key(tmp_path, "shop", ("decide",), (text,))
    assert read_keys(tmp_path) == ()


def test_a_key_without_limits_costs_nothing(tmp_path: Path, clock: Clock) -> None:
    _, text = create_key(tmp_path, "shop", ("decide",))
    door = Door(tmp_path, secret=b"s" * 32, clock=clock)
    assert door.admit("POST", "/v1/recommendations", bearer(text), "9.9.9.9").headers == ()
    assert door._quotas is None, "one look at it is all that a request pays"


def test_two_workers_count_together_and_a_restart_forgets_nothing(tmp_path: Path) -> None:
    clock = Clock()
    limits = {"k": ("10/minute",), "other": ("10/minute",)}
    first, second = (Quotas(tmp_path / "quotas", limits, clock=clock) for _ in range(2))
    assert [refused(quotas) for quotas in (first, second) * 5] == [None] * 10
    for quotas in (first, second):
        problem = refused(quotas)
        assert problem is not None and problem.kind.code == "rate_limited"
    assert refused(first, "other") is None, "another key's limit is its own"
    assert refused(first, "unlimited") is None
    for quotas in (first, second):
        quotas.close()
    again = Quotas(tmp_path / "quotas", limits, clock=clock)
    assert refused(again) is not None
    clock.now += 120
    assert refused(again) is None
    again.close()


def test_the_nearest_of_several_limits_is_told(tmp_path: Path) -> None:
    clock = Clock()
    clock.now = 1_800_000_000.0 // 86_400 * 86_400
    quotas = Quotas(tmp_path / "quotas", {"k": ("3/second", "4/day")}, clock=clock)
    assert dict(quotas.count("k")) == {b"ratelimit-policy": b'"3/second";q=3;w=1', b"ratelimit": b'"3/second";r=2;t=1'}
    quotas.count("k"), quotas.count("k")
    problem = refused(quotas)
    assert problem is not None and problem.retry_after_s == 1
    clock.now += 2
    assert dict(quotas.count("k"))[b"ratelimit"] == b'"4/day";r=0;t=86398'
    problem = refused(quotas)
    assert problem is not None
    assert dict(problem.headers())[b"retry-after"] == b"86398"
    quotas.close()


@given(
    amount=st.integers(1, 20),
    steps=st.lists(st.floats(0.0, 3.0, allow_nan=False), min_size=1, max_size=60),
)
def test_no_window_holds_more_than_its_limit_and_retry_after_is_enough(
    tmp_path_factory: pytest.TempPathFactory, amount: int, steps: list[float]
) -> None:
    clock = Clock()
    path = tmp_path_factory.mktemp("quotas") / "quotas"
    quotas = Quotas(path, {"k": (f"{amount}/second",)}, clock=clock)
    taken: list[float] = []
    for step in steps:
        clock.now += step
        problem = refused(quotas)
        if problem is None:
            taken.append(clock.now)
            continue
        assert len([at for at in taken if at > clock.now - 2]) >= amount, "refused only after that many"
        assert problem.retry_after_s is not None
        before = clock.now
        clock.now += problem.retry_after_s + 0.001
        assert refused(quotas) is None
        taken.append(clock.now)
        clock.now = max(before, clock.now)
    for start in {int(at) for at in taken}:
        assert len([at for at in taken if start <= at < start + 1]) <= amount
    quotas.close()


def test_a_clock_that_is_set_back_a_little_keeps_the_counts_and_far_begins_anew(tmp_path: Path) -> None:
    clock = Clock()
    quotas = Quotas(tmp_path / "quotas", {"k": ("2/minute",)}, clock=clock)
    assert refused(quotas) is None and refused(quotas) is None
    clock.now -= 30
    assert refused(quotas) is not None
    clock.now -= 7_200
    assert refused(quotas) is None
    quotas.close()


def test_a_worker_that_stands_still_while_it_counts_stops_nobody(tmp_path: Path) -> None:
    windows = Windows(tmp_path / "quotas")
    quotas = Quotas(tmp_path / "quotas", {"k": ("1/minute",)})
    with windows.locked():
        began = time.monotonic()
        assert [quotas.count("k") for _ in range(3)] == [()] * 3
        assert time.monotonic() - began < 1.0
        with pytest.raises(LockBusy):
            quotas._windows.take(read_quota("1/minute"), "k")
    assert refused(quotas) is None and refused(quotas) is not None
    windows.close()
    quotas.close()


def test_processes_that_count_at_once_let_through_exactly_the_limit(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom api.problems import Problem\nfrom api.quotas import Quotas\n"
        "quotas = Quotas(Path(sys.argv[1]), {'k': ('1000/day',)})\ntaken = 0\n"
        "for _ in range(800):\n    try:\n        quotas.count('k')\n        taken += 1\n"
        "    except Problem:\n        pass\nprint(taken)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "quotas")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    assert sum(int(one.communicate(timeout=60)[0]) for one in running) == 1_000


def test_more_limits_than_there_is_room_for_are_still_counted(tmp_path: Path) -> None:
    windows = Windows(tmp_path / "quotas")
    item = read_quota("1/day")
    assert all(windows.take(item, f"k{number}")[0] for number in range(6_000))
    assert not windows.take(item, "k5999")[0]
    windows.close()


def test_a_file_of_keys_with_a_limit_that_is_none_lets_nobody_in(tmp_path: Path, clock: Clock) -> None:
    _, text = create_key(tmp_path, "shop", ("decide",), ("5/second",))
    keys_file(tmp_path).write_text(keys_file(tmp_path).read_text().replace("5/second", "5/moon"))
    door = Door(tmp_path, secret=b"s" * 32, clock=clock)
    with pytest.raises(Problem, match="key_missing"):
        door.admit("POST", "/v1/recommendations", HERE, "9.9.9.9")
    with pytest.raises(Problem, match="key_unknown"):
        door.admit("POST", "/v1/recommendations", bearer(text), "9.9.9.9")


@pytest.fixture
def limited(start_service: Any, tmp_path: Path) -> Iterator[Any]:
    """A service of two workers with a key that may ask 20 times an hour, and one that may all day."""
    home = str(tmp_path / "home")
    made = perennial(
        "keys", "create", "shop", "--scope", "decide", "--scope", "feedback", "--limit", "20/hour", "--home", home
    )
    assert made.returncode == 0, made.stderr
    free = create_key(tmp_path / "home", "free", ("admin",))[1]
    yield start_service("home", "--workers", "2"), made.stdout.split()[0], free


def test_a_running_service_keeps_to_the_limit_whichever_worker_answers(limited: Any, tmp_path: Path) -> None:
    service, text, free = limited
    shop, owner = ({"Authorization": f"Bearer {one}", "Connection": "close"} for one in (text, free))
    replies = [service.client.post("/v1/recommendations", json={"user_id": "u"}, headers=shop) for _ in range(25)]
    assert [reply.status_code for reply in replies] == [201] * 20 + [429] * 5
    assert replies[0].headers["ratelimit-policy"] == '"20/hour";q=20;w=3600'
    assert [reply.headers["ratelimit"].split(";")[1] for reply in replies[:20]] == [f"r={n}" for n in range(19, -1, -1)]
    problem = replies[-1].json()
    assert (problem["code"], problem["status"]) == ("rate_limited", 429)
    assert replies[-1].headers["content-type"] == "application/problem+json"
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 3_600
    assert ";r=0;" in replies[-1].headers["ratelimit"]
    event = {"event_type": "play", "user_id": "u", "item_id": "i"}
    assert service.client.post("/v1/events", json={"events": [event]}, headers=shop).status_code == 429
    reply = service.client.get("/v1/state", headers=owner)
    assert reply.status_code == 200 and "ratelimit" not in reply.headers, "keys without a limit hear nothing of one"
    assert service.client.get("/livez", headers=shop).status_code == 200, "what is open to everybody is not counted"
    listed = perennial("keys", "list", "--home", str(service.home))
    assert "20/hour" in listed.stdout

    revoke_key(service.home, "shop")
    wider = create_key(service.home, "shop", ("decide",), ("1000000/day",))[1]
    time.sleep(0.6)
    shop["Authorization"] = f"Bearer {wider}"
    answered = service.client.post("/v1/recommendations", json={"user_id": "u"}, headers=shop)
    assert (answered.status_code, answered.headers["ratelimit"].split(";")[1]) == (201, "r=999999")
