"""The long form of the fault tests: `make torture`, with counts and what no failure in them shows.

    python -m tests.faults.torture [--trials 300] [--first 0] [--only simulation,cuts,kills,slow,…] [--beside 1]
                                   [--seconds 600]

A trial's number is its seed, or that of the piece that begins with it: pieces from different first ones add up, one
after the other (`--seconds`: as many as fit), or beside each other (`--beside`). Every phase stops at the first thing
that is not as promised, and says what it was.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from online.failpoint import NAMES
from online.log import LogReader, LogServer, connect
from online.records import Event, decode
from tests.api.conftest import ROOT, Running, eventually
from tests.faults.injectors import COMPILER, append_until_killed, bound, build_fsync_library, cut_power, kill, paused
from tests.faults.simulation import simulate
from tests.faults.test_learner_crashes import crash_and_compare
from tests.online.test_erasure import erase_and_compare

SLOW_US = "20000-900000"  # what a sync takes where it is slow: 20 to 900 ms, by chance
CLIENTS = 16  # that load a service while acts are done to its past: no one waits long enough to be late for its next


class Trials:
    """Numbers of trials, the first and so many, or fewer where the time is over: then no other one is begun."""

    def __init__(self, first: int, many: int, seconds: float) -> None:
        self.first, self._many, self._until = first, many, time.monotonic() + seconds
        self.done = 0
        self.after = contextlib.ExitStack()  # what is to be ended, however they end

    def __iter__(self) -> Iterator[int]:
        for number in range(self.first, self.first + self._many):
            if time.monotonic() > self._until:
                return
            yield number
            self.done += 1

    @property
    def bound(self) -> str:
        """What they show, none of them having failed."""
        return bound(self.done)


@contextlib.contextmanager
def preloaded(folder: Path, **variables: str) -> Iterator[None]:
    """Processes that are started inside sync as the preloaded library lets them."""
    folder.mkdir(exist_ok=True)
    variables |= {"LD_PRELOAD": str(build_fsync_library(folder))}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)


def cuts(folder: Path, trials: Trials, *, policy: str = "always") -> str:
    """Power cuts of the log's server, its syncs fast, or 20 to 900 ms slow: what was acknowledged is there, once."""
    if COMPILER is None:
        return "not run: no C compiler"
    in_all = lost_in_all = losing = 0
    for seed in trials:
        home, notes = folder / f"cut-{seed}", folder / f"notes-{seed}"
        slow = {"FSYNC_SLOW_US": ("0", SLOW_US)[seed % 2]} if policy == "always" else {}
        with preloaded(folder / "library", FSYNC_NOTES=str(notes), **slow):
            server = LogServer.start(home)
            with connect(server.url) as client:
                client.config_set("appendfsync", policy)
            acknowledged = asyncio.run(append_until_killed(server, 20 + seed % 150))
        cut_power(list((home / "appendonlydir").glob("*.incr.aof")), notes, seed)
        server = LogServer.start(home)
        reader = LogReader(server.url)
        there: dict[int, bytes] = {}
        after = 0
        while found := reader.read(after, 10_000, 0):
            there.update(found)
            after = found[-1][0]
        reader.close()
        server.stop()
        lost = [position for record, position in acknowledged.items() if there.get(position) != record]
        assert not lost or policy != "always", f"seed {seed}: acknowledged and lost: {lost[:5]}"
        assert len(set(there.values())) == len(there), f"seed {seed}: a record twice"
        in_all, lost_in_all, losing = in_all + len(acknowledged), lost_in_all + len(lost), losing + bool(lost)
        shutil.rmtree(home)
    if policy == "always":
        return f"{trials.bound}; {in_all:,} acknowledged records, 0 lost, 0 doubled"
    cut = f"{losing} of {trials.done} cuts under {policy} lost something"
    assert losing > 0.9 * trials.done, f"only {cut}: the test has no teeth"
    return f"{cut}, as they must: {lost_in_all:,} of {in_all:,} acknowledged records"


def everysec(folder: Path, trials: Trials) -> str:
    """The same power cuts under `appendfsync everysec`: they have to lose, or the test above shows nothing."""
    return cuts(folder, trials, policy="everysec")


def erasures(folder: Path, trials: Trials) -> str:
    """An erasure killed at every place in turn, and done again: no record, snapshot or file holds the user any more."""
    places = [name for name in NAMES if name.startswith(("erasure", "durable"))]
    died = 0
    for trial in trials:
        server = LogServer.start(folder / f"log-{trial}")
        try:
            place = places[trial % len(places)]
            k = 1 if place.startswith("erasure") else 1 + trial // len(places) % 5  # those are passed once
            died += erase_and_compare(folder / f"home-{trial}", server.url, place, [k])
        finally:
            server.stop()
        shutil.rmtree(folder / f"home-{trial}")
        shutil.rmtree(folder / f"log-{trial}")
    return f"{trials.bound}; killed {died} times"


def learner(folder: Path, trials: Trials) -> str:
    """The learner killed at every place in turn, records and an act on the past arriving; its successor's state."""
    places = [name for name in NAMES if not name.startswith("erasure")]
    took = []
    for trial in trials:
        name = places[trial % len(places)]
        k = 1 if name in ("learner.switched", "archive.archived") else 1 + trial // len(places) % 6
        server = LogServer.start(folder / f"log-{trial}")
        try:
            survived = crash_and_compare(folder / f"home-{trial}", server.url, name, k)
            assert survived.state_digest == survived.folded_digest, f"{name} {k}"
            took.append(survived.ready_s)
        finally:
            server.stop()
        shutil.rmtree(folder / f"home-{trial}")
        shutil.rmtree(folder / f"log-{trial}")
        print(f"  {trial + 1}: {name} {k}", flush=True)
    restarts = [one for one in took if one] or [0.0]
    return f"{trials.bound}; ready again in {statistics.median(restarts):.1f} s, {max(restarts):.1f} at most"


def slow(folder: Path, trials: Trials) -> str:
    """As `kills`, on a disk whose every sync takes 20 to 900 ms, the log's, the snapshots' and the archive's."""
    if COMPILER is None:
        return "not run: no C compiler"
    with preloaded(folder / "library", FSYNC_SLOW_US=SLOW_US):
        return kills(folder, trials)


def kills(folder: Path, trials: Trials) -> str:
    """Server, learner, worker, all three killed or hung under load: what was answered with 202 is counted once."""
    service = Running(folder / "kills", "--workers", "2", "--snapshot-every", "2", "--log-kept", "1000")
    trials.after.callback(_end, service)
    chance = random.Random(f"kills {trials.first}")
    accepted: list[str] = []
    stop = threading.Event()

    def client(name: int) -> None:
        turn = 0
        with httpx.Client(base_url=service.address["url"], timeout=10.0) as http:
            while not stop.is_set():
                one = f"{name}-{turn}"
                event = {"event_id": one, "event_type": "play", "user_id": f"u{turn % 20}", "item_id": f"i{turn % 30}"}
                while not stop.is_set():  # until it is told 202: the same id each time
                    try:
                        if http.post("/v1/events", json={"events": [event]}).status_code == 202:
                            accepted.append(one)
                            break
                    except httpx.TransportError:
                        pass
                    time.sleep(0.02)
                turn += 1
                time.sleep(0.005)

    before = service.fill(items=30, users=20)
    began = service.client.get("/v1/state").json()
    threads = [threading.Thread(target=client, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in trials:
            parts = chance.choice(
                (["valkey"], ["online.learner"], ["api.worker"], ["valkey", "online.learner", "api.worker"])
            )
            time.sleep(chance.uniform(0.1, 1.0))
            known = len(accepted)
            found = [pid for pid, command in service.children().items() if any(part in command for part in parts)]
            if chance.random() < 0.3 and found:
                with paused(found[0]):
                    time.sleep(chance.uniform(0.1, 2.0))
            else:
                for pid in found:
                    kill(pid)
            assert eventually(lambda k=known: len(accepted) > k + 4, within_s=120.0), service.said()[-3_000:]
            if trials.done % 20 == 19:
                print(f"  {trials.done + 1}: {len(accepted):,} events accepted", flush=True)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert eventually(lambda: service.client.get("/readyz").status_code == 200, within_s=300.0)
    assert eventually(lambda: caught_up(service), within_s=300.0)
    after = service.client.get("/v1/state").json()
    in_log = event_ids(service, before)
    lost = set(accepted) - in_log
    assert not lost, f"acknowledged and not in the log: {sorted(lost)[:5]}"
    counted = after["applied"] + after["late"] - began["applied"] - began["late"]
    assert counted == len(in_log), f"{counted} counted, {len(in_log)} different events in the log"
    assert after["received"] == after["applied"] + after["duplicate"] + after["late"] + after["rejected"]
    verified(service)
    service.stop()
    return f"{trials.bound}; {len(accepted):,} events accepted, 0 lost, 0 counted twice, digests identical"


def acts(folder: Path, trials: Trials) -> str:
    """Rollbacks, surgery, undo, freeze and resume at half of the load that the same clients can make it bear: no
    request fails, every digest is as it should be. A time counts from when the request was due."""
    service = Running(folder / "acts", "--workers", "2")
    trials.after.callback(_end, service)
    service.fill(items=30, users=20)
    chance = random.Random(f"acts {trials.first}")
    statuses: dict[int, int] = {}
    took: list[float] = []

    def client(name: str, stop: threading.Event, apart_s: float) -> None:
        turn, due = 0, time.monotonic()
        with httpx.Client(base_url=service.address["url"], timeout=60.0) as http:
            while not stop.is_set():
                turn += 1
                user = f"u{turn % 20}"
                event = {"event_id": f"{name}-{turn}", "event_type": "play", "user_id": user, "item_id": "i3"}
                for path, body in (
                    ("/v1/recommendations", {"user_id": user, "n": 5}),
                    ("/v1/events", {"events": [event]}),
                ):
                    due = due + apart_s if apart_s else time.monotonic()
                    time.sleep(max(0.0, due - time.monotonic()))
                    try:
                        status = http.post(path, json=body).status_code
                    except httpx.HTTPError:
                        status = 0
                    took.append(time.monotonic() - due)
                    statuses[status] = statuses.get(status, 0) + 1

    @contextlib.contextmanager
    def load(name: str, apart_s: float) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=client, args=(f"{name}{k}", stop, apart_s)) for k in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def ask(path: str, **body: Any) -> dict[str, Any]:
        reply = service.client.post(path, json=body | {"reason": "torture"}, timeout=300.0)
        assert reply.status_code == 200, reply.text
        done: dict[str, Any] = reply.json()
        return done

    with load("full", 0.0):
        time.sleep(5.0)
    most = len(took) / 5.0
    took.clear()
    began = time.monotonic()
    with load("half", 2.0 * CLIENTS / most):
        for _ in trials:
            head = service.client.get("/v1/state").json()["position"]
            match chance.randrange(4):
                case 0:
                    done = ask("/v1/rollbacks", to={"position": max(1, head - chance.randrange(1, 200))})
                case 1:
                    done = ask("/v1/rollbacks", without={"users": [f"u{chance.randrange(20)}"]})
                case 2:
                    done = ask("/v1/rollbacks", without={"positions": {"from": max(2, head - 50), "until": head}})
                case _:
                    ask("/v1/acts", act="freeze")
                    time.sleep(0.2)
                    done = ask("/v1/acts", act="resume", meanwhile="learn")
            if chance.random() < 0.5:
                ask("/v1/rollbacks", to={"position": done["from"]})
            if trials.done % 20 == 19:
                print(f"  {trials.done + 1}: {sum(statuses.values()):,} requests", flush=True)
        asked = len(took) / (time.monotonic() - began)
    assert set(statuses) == {201, 202}, statuses
    assert eventually(lambda: caught_up(service), within_s=300.0)
    verified(service)
    service.stop()
    ordered = sorted(took)
    return (
        f"{trials.bound}; {len(took):,} requests meanwhile, {asked:.0f}/s where {most:.0f}/s were the most, 0 failed, "
        f"p50 {ordered[len(took) // 2] * 1e3:.0f} ms, p99 {ordered[len(took) * 99 // 100] * 1e3:.0f} ms, digests "
        f"identical"
    )


def _end(service: Running) -> None:
    if service.process.poll() is None:
        service.stop()


def caught_up(service: Running) -> bool:
    """Whether all that is in the log is learned."""
    reply = service.client.get("/v1/state")
    return reply.status_code == 200 and reply.json()["learned_position"] >= reply.json()["log_head"]


def event_ids(service: Running, after: int) -> set[str]:
    """Of the events in the log behind a position."""
    from online.archive import open_log

    log, found = open_log(service.address["log_url"], service.home), set()
    while entries := log.read(after, 1_000, 0):
        for position, payload in entries:
            record = decode(payload)
            if isinstance(record, Event):
                found.add(record.event_id)
            after = position
    log.close()
    return found


def verified(service: Running) -> dict[str, Any]:
    """What `verify` says: every digest is identical."""
    command = [sys.executable, "-m", "api.command", "verify", "--home", str(service.home), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def simulated(folder: Path, trials: Trials) -> str:
    """Ten seeds of the whole in one process for each trial; what is simulated there, `simulation.py` says."""
    del folder
    totals: dict[str, int] = {}
    for seed in (10 * trial + k for trial in trials for k in range(10)):
        done = simulate(seed)  # raises with the seed
        for name, count in (done.counts | {"acknowledged": len(done.acknowledged)}).items():
            totals[name] = totals.get(name, 0) + count
        if seed % 500 == 499:
            print(f"  {seed + 1} seeds", flush=True)
    return f"{bound(10 * trials.done)}; " + ", ".join(f"{count:,} {name}" for name, count in totals.items())


PHASES: dict[str, Callable[[Path, Trials], str]] = {
    "simulation": simulated,
    "cuts": cuts,
    "everysec": everysec,
    "erasures": erasures,
    "learner": learner,
    "kills": kills,
    "slow": slow,
    "acts": acts,
}


def beside(name: str, trials: int, first: int, seconds: float, pieces: int) -> int:
    """Pieces of a phase beside each other, each a process of its own with a service of its own; what it returned."""
    edges = [trials * k // pieces for k in range(pieces + 1)]
    command = [sys.executable, "-m", "tests.faults.torture", "--only", name, "--seconds", str(seconds)]
    running = [
        subprocess.Popen([*command, "--trials", str(until - start), "--first", str(first + start)], cwd=ROOT)
        for start, until in itertools.pairwise(edges)
        if until > start
    ]
    try:
        return max(process.wait() for process in running)
    finally:
        for process in running:
            process.terminate()  # where this one was told to stop


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=300, help="of each phase")
    parser.add_argument("--first", type=int, default=0, help="number of the first one: a seed, so that pieces add up")
    parser.add_argument("--only", default=",".join(PHASES), help="phases, with commas")
    parser.add_argument("--seconds", type=float, default=1e9, help="after so many no other trial of a phase is begun")
    parser.add_argument("--beside", type=int, default=1, help="pieces of a phase that run beside each other")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in options.only.split(","):
        if options.beside > 1:
            if code := beside(name, options.trials, options.first, options.seconds, options.beside):
                return code
            continue
        phase = PHASES[name]
        print(f"{name}: {(phase.__doc__ or '').splitlines()[0]}", flush=True)
        with tempfile.TemporaryDirectory(prefix=f"torture-{name}-") as folder:
            began = time.monotonic()
            trials = Trials(options.first, options.trials, options.seconds)
            with trials.after:
                told = phase(Path(folder), trials)
            print(f"{name}: {told}  ({time.monotonic() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
