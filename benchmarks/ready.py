"""How long a service takes to be ready: from `perennial up`, and behind a SIGKILL of its learner or of a worker.

    python benchmarks/ready.py [--rounds 7] [--records 20000] [--against DIR]

Each round starts the service on a home that has a log, which its snapshot at the last stop covers, kills the learner
while an event arrives, and waits until that event is learned; then a worker, until its successor says that it serves.
`--against`: another checkout of this repository, measured in turn with this one in the same run.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).resolve().parent.parent
WITHIN_S = 120.0


class Service:
    """`perennial up` of a checkout, on a home."""

    def __init__(self, checkout: Path, home: Path) -> None:
        self.home = home
        command = [sys.executable, "-m", "api.command", "up", "--home", str(home), "--port", "0", "--json"]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        began = time.perf_counter()
        with open(home.with_suffix(".err"), "ab") as said:
            self.process = subprocess.Popen(
                command, cwd=checkout, env=environment, stdout=subprocess.PIPE, stderr=said, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.up_s = time.perf_counter() - began
        address: dict[str, Any] = json.loads(line)
        self.http = httpx.Client(base_url=address["url"], timeout=30.0)

    def children(self, what: str) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                    if parent == self.process.pid and what.encode() in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def learn(self, events: list[dict[str, Any]]) -> None:
        """Send events, and wait until they are learned."""
        position = self.http.post("/v1/events", json={"events": events}).raise_for_status().json()["position"]
        until = time.perf_counter() + WITHIN_S
        while self.http.get("/v1/state").json()["learned_position"] < position:
            assert time.perf_counter() < until, "not learned in time"
            time.sleep(0.01)

    def learner_again_s(self, name: str) -> float:
        """From SIGKILL of the learner until an event that came right behind it is learned."""
        began = time.perf_counter()
        os.kill(self.children("online.learner")[0], signal.SIGKILL)
        self.learn([event(name, 1)])
        return time.perf_counter() - began

    def worker_again_s(self) -> float:
        """From SIGKILL of the worker until another one serves."""
        ready = self.home / "run" / "workers"
        before = {path.name for path in ready.iterdir()}
        began = time.perf_counter()
        os.kill(self.children("api.worker")[0], signal.SIGKILL)
        while not {path.name for path in ready.iterdir()} - before:
            assert time.perf_counter() < began + WITHIN_S, "no worker in time"
            time.sleep(0.01)
        return time.perf_counter() - began

    def stop(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait(timeout=WITHIN_S)


def event(name: str, number: int) -> dict[str, Any]:
    one = f"{name}-{number}"
    return {"event_id": one, "event_type": "play", "user_id": f"u{number % 200}", "item_id": f"i{number * number % 97}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    checkouts = [HERE] + ([options.against.resolve()] if options.against else [])
    took: dict[tuple[Path, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for checkout in checkouts:
            home = Path(folder) / f"home-{checkouts.index(checkout)}"
            service = Service(checkout, home)
            for first in range(0, options.records, 1_000):
                service.learn([event("past", first + k) for k in range(1_000)])
            service.stop()
        for turn in range(options.rounds):
            for checkout in checkouts:
                service = Service(checkout, Path(folder) / f"home-{checkouts.index(checkout)}")
                learner_s, worker_s = service.learner_again_s(f"kill-{turn}"), service.worker_again_s()
                service.stop()
                for what, seconds in (("up", service.up_s), ("learner", learner_s), ("worker", worker_s)):
                    took.setdefault((checkout, what), []).append(seconds)
    load = os.getloadavg()[0]
    for checkout in checkouts:
        which = "this checkout" if checkout == HERE else "the other"
        for what, told in (
            ("up", "perennial up until ready"),
            ("learner", "learner killed until an event is learned"),
            ("worker", "worker killed until another serves"),
        ):
            found = took[checkout, what]
            print(f"{which}: {told}: {statistics.median(found):.2f} s, {max(found):.2f} at most of {len(found)}")
    print(f"load at the end: {load:.1f}")


if __name__ == "__main__":
    main()
