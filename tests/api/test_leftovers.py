"""Shared memory of services that were killed is taken away by the next one that starts, and never that of another."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from online.leftovers import OWNER, hold, remove_leftovers
from online.publication import HEARTBEAT_MS, open_control, shared_folder
from tests.api.conftest import Running, alive, eventually

HOUR_MS = 3_600_000


def an_hour_later(folder: Path) -> None:
    open_control(folder)[HEARTBEAT_MS] -= HOUR_MS


def killed(service: Running) -> Path:
    """Its shared memory, an hour after everything of it got a SIGKILL."""
    folder = shared_folder(service.home)
    pids = [service.process.pid, *service.children()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # so that nobody ends in order, or starts a child again
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    service.process.wait()
    service.client.close()
    service.talk.close()
    assert service.process.stdout is not None
    service.process.stdout.close()
    assert eventually(lambda: not any(map(alive, pids)))
    an_hour_later(folder)
    return folder


def test_the_next_start_takes_away_what_a_kill_left_and_nothing_that_is_served(
    start_service: Callable[..., Running],
) -> None:
    dead, paused = start_service("dead"), start_service("paused")
    left, served = killed(dead), shared_folder(paused.home)
    stopped = [paused.process.pid, *paused.children()]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        an_hour_later(served)
        assert (left / "control").exists() and (left / OWNER).read_text() == str(dead.home.resolve())
        third = start_service("third")
        assert not left.exists()
        assert f"took away the shared memory of {dead.home.resolve()}" in third.said()
        assert str(paused.home) not in third.said()
        assert (served / "control").exists()
        assert shared_folder(third.home).exists()
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    paused.fill(items=5, users=5)
    assert paused.client.post("/v1/recommendations", json={"user_id": "u1"}).status_code == 201
    again = start_service("dead")  # its log is whole
    assert again.client.get("/readyz").status_code == 200


def test_a_killed_learner_under_a_supervisor_keeps_its_memory(start_service: Callable[..., Running]) -> None:
    """Between two learners nobody holds the folder; its home is supervised."""
    service = start_service()
    folder = shared_folder(service.home)
    supervisor, learner = service.process.pid, service.pid_of("online.learner")
    os.kill(supervisor, signal.SIGSTOP)  # starts no other meanwhile
    try:
        os.kill(learner, signal.SIGKILL)
        assert eventually(lambda: not alive(learner))
        an_hour_later(folder)
        assert service.home.resolve() not in list(remove_leftovers(service.home.with_name("another")))
        assert (folder / "control").exists()
    finally:
        os.kill(supervisor, signal.SIGCONT)
    assert service.stop() == 0
    assert not folder.exists()


def test_a_folder_that_is_silent_only_now_or_whose_owner_nobody_knows_stays(tmp_path: Path) -> None:
    home, another = tmp_path / "home", tmp_path / "another"
    holding = hold(home)
    folder = shared_folder(home)
    open_control(folder, create=True)[HEARTBEAT_MS] = 1
    assert home not in list(remove_leftovers(another)), "somebody holds it"
    os.close(holding)
    (folder / OWNER).rename(folder / "kept")
    assert home not in list(remove_leftovers(another)), "it does not say whose it is"
    (folder / "kept").write_text(str(another))
    (folder / "kept").rename(folder / OWNER)
    assert home not in list(remove_leftovers(tmp_path)), "it says something else"
    (folder / OWNER).write_text(str(home))
    assert home not in list(remove_leftovers(home)), "it is one's own"
    assert home in list(remove_leftovers(another))
    assert not folder.exists()
