"""The learner killed at named places while records and an act on the past arrive: its successor has the same state.

Short here, at four places; `make torture` goes through all of them, time and again.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from online.archive import open_log
from online.history import artifacts_of
from online.lineage import Arguments, Cut, user_key
from online.log import LogServer, LogWriter
from online.publication import POSITION, LearnerNotReady, open_control, shared_folder
from online.records import Act, Begin, Event, Record, encode
from online.refold import refolded
from online.settings import Settings, settings_text
from online.snapshot import Snapshot, newest_first
from tests.faults.injectors import failpoint

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = Settings()
USERS, ITEMS = 40, 60
FIRST, ROUNDS, PER_ROUND = 600, 12, 250


def past(first: int, n: int) -> list[bytes]:
    return [
        encode(
            Event(
                f"e{first + k}",
                "click",
                f"u{(first + k) * 7 % USERS}",
                f"i{(first + k) * (first + k) % ITEMS}",
                1_700_000_000_000 + 1_000 * (first + k),
                0,
            )
        )
        for k in range(n)
    ]


def surgery(after: int) -> bytes:
    told = Arguments(to=after, without=Cut(users=(user_key("u7"),)))
    arguments = msgspec.json.encode(told, order="sorted").decode()
    record: Record = Act(act="rollback", reason="a test", received_ms=0, arguments=arguments)
    return encode(record)


async def append(url: str, records: list[bytes]) -> int:
    writer = LogWriter(url, patience_s=5.0)
    await writer.start()
    try:
        position = 0
        for first in range(0, len(records), 500):
            position = await writer.append(records[first : first + 500])
        return position
    finally:
        await writer.close()


class Learner:
    """`python -m online.learner` on a home, as the supervisor runs it."""

    def __init__(self, home: Path, url: str, environment: dict[str, str]) -> None:
        self.home = home
        command = [sys.executable, "-m", "online.learner", "--home", str(home), "--log-url", url]
        command += ["--snapshot-every-s", "0.2", "--log-kept", "1000"]
        self.said = (home / "learner.err").open("ab")
        one = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **one, **environment}, stderr=self.said, stdout=self.said
        )

    def reached(self) -> int:
        try:
            return int(open_control(shared_folder(self.home))[POSITION])
        except LearnerNotReady:
            return -1

    def wait(self, position: int, within_s: float = 300.0) -> bool:
        """Until it has published a position; False where it died first."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            if self.reached() >= position:
                return True
            time.sleep(0.02)
        raise AssertionError((self.home / "learner.err").read_text()[-3_000:])

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=120)
        self.said.close()
        return code


class Survived(NamedTuple):
    """What came of a crash."""

    ready_s: float  # until the next learner had folded everything; 0 where only the copy that writes snapshots died
    state_digest: str  # of the next learner's last snapshot
    folded_digest: str  # of the same log folded by somebody who never crashed


def crash_and_compare(home: Path, url: str, name: str, k: int) -> Survived:
    """Kill the learner once at a place, let another take over, compare; how long that one took to be ready."""
    home.mkdir()
    begin = Begin(1, "", RULES.seed, settings_text(RULES), 0)
    head = asyncio.run(append(url, [encode(begin), *past(0, FIRST)]))
    marker = home / "marker"
    learner = Learner(home, url, failpoint(name, k, marker))
    died = not learner.wait(head)
    for number in range(ROUNDS):
        records = past(FIRST + number * PER_ROUND, PER_ROUND)
        head = asyncio.run(append(url, [*records, surgery(head - 300)] if number == ROUNDS // 2 else records))
        if not died:
            died = not learner.wait(head)
        time.sleep(0.02)
    deadline = time.monotonic() + 60.0  # on a machine that others keep busy a snapshot may take ten seconds
    while not died and time.monotonic() < deadline:  # places behind the fold: in a snapshot, in the archive
        died = marker.exists()
        head = asyncio.run(append(url, past(10**6 + head, 5)))
        time.sleep(0.05)
    said = (home / "learner.err").read_text()[-2_000:]
    assert died and marker.exists(), f"{name} was never passed {k} times; the learner said:\n{said}"
    if learner.process.poll() is not None:
        learner.said.close()
        began = time.monotonic()
        learner = Learner(home, url, failpoint(name, k, marker))
        assert learner.wait(head)
        ready_s = time.monotonic() - began
    else:  # only the copy that wrote a snapshot died
        ready_s = 0.0
        assert learner.wait(head)
    assert learner.stop() == 0
    newest = next(found for found in newest_first(home / "snapshots") if isinstance(found, Snapshot))
    assert newest.position == head
    log = open_log(url, home)
    try:
        log.archive.check()
        states = list(refolded(log, artifacts_of(home), [head]))
    finally:
        log.close()
    return Survived(ready_s, newest.state_digest, states[0].digest())


@pytest.mark.parametrize(
    ("name", "k"), [("durable.written", 3), ("durable.renamed", 2), ("learner.switched", 1), ("archive.archived", 1)]
)
def test_a_learner_killed_anywhere_is_followed_by_one_with_the_same_state(
    tmp_path: Path, start_server: Callable[[Path], LogServer], name: str, k: int
) -> None:
    server = start_server(tmp_path / "log")
    survived = crash_and_compare(tmp_path / "home", server.url, name, k)
    assert survived.state_digest == survived.folded_digest
