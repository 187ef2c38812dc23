"""A real service for tests: `perennial up` in a process of its own, on a free port, in a folder of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
START_S = 540.0  # the kernels may have to be compiled first


class Running:
    """One service. `client` talks to it, `pids()` says what belongs to it."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        command = [sys.executable, "-m", "api.command", "up", "--home", str(home), "--port", "0", "--json", *arguments]
        self.talk = home.with_name(f"{home.name}.err").open("a+")
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self.talk, text=True)
        assert self.process.stdout is not None
        late = threading.Timer(START_S, self.process.kill)
        late.start()
        line = self.process.stdout.readline()
        late.cancel()
        if not line:
            said = self.said()
            self.process.wait()
            self.process.stdout.close()
            self.talk.close()
            raise RuntimeError(f"the service did not start:\n{said}")
        self.address: dict[str, Any] = json.loads(line)
        self.client = httpx.Client(base_url=self.address["url"], timeout=30.0)

    def fill(self, *, items: int, users: int) -> int:
        """A catalogue and a past; the position in the log after it, learned."""
        catalogue = [{"item_id": f"i{n}", "title": f"Title {n}"} for n in range(items)]
        assert self.client.post("/v1/items", json={"items": catalogue}).status_code == 201
        events = [
            {"event_id": f"past-{n}", "event_type": "play", "user_id": f"u{n % users}", "item_id": f"i{n * n % items}"}
            for n in range(200)
        ]
        reply = self.client.post("/v1/events", json={"events": events})
        assert reply.status_code == 202, reply.text
        position: int = reply.json()["position"]
        # Long: where no kernel has been compiled before, the first events wait for the compiler.
        reached = eventually(lambda: self.client.get("/v1/state").json()["position"] >= position, within_s=START_S)
        assert reached, self.said()[-2000:]
        return position

    def said(self) -> str:
        """What the service's processes have said so far."""
        self.talk.seek(0)
        return self.talk.read()

    def children(self) -> dict[int, str]:
        """Its processes by id: what they run."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if parent == self.process.pid and command:
                found[int(entry.name)] = command
        return found

    def pid_of(self, what: str) -> int:
        """The first child whose command holds `what`."""
        return next(pid for pid, command in self.children().items() if what in command)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end; the exit code."""
        self.client.close()
        self.process.send_signal(number)
        code = self.process.wait(timeout=150)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.talk.close()
        return code


def eventually(holds: Callable[[], bool], *, within_s: float = 30.0) -> bool:
    """Whether `holds` becomes true in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False


def caught_up(ask: Callable[[], httpx.Response], *, within_s: float = 30.0) -> httpx.Response:
    """The answer to a question with X-Min-Position, asked again while the learner of a busy machine is behind."""
    deadline = time.monotonic() + within_s
    while (reply := ask()).status_code == 503 and time.monotonic() < deadline:
        assert reply.json()["code"] == "learner_behind", reply.text
    return reply


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with two workers and a small catalogue, shared by a module's tests."""
    running = Running(tmp_path_factory.mktemp("service") / "home", "--workers", "2")
    try:
        running.fill(items=50, users=20)
        yield running
    finally:
        code = running.stop()
    assert code == 0


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts services on `tmp_path / name`; those still running are stopped when the test ends."""
    started: list[Running] = []

    def start(name: str = "home", *arguments: str) -> Running:
        started.append(Running(tmp_path / name, *arguments))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.stop()
