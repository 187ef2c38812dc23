"""A service at half of what it can answer, for hours, while everything is done to it: `make soak MINUTES=n`.

    python -m tests.faults.soak [--minutes 120] [--rate N] [--every 60] [--home DIR]

Slates, events and figures come at a steady rate, whatever becomes of them (`benchmarks/overload.py`): half of the peak
that 32 connections reached before, or `--rate`. Every `--every` seconds, drawn by chance: a snapshot, a rollback with
or without its undoing, surgery, a freeze (`long_life.py`), and in the first 40 % of the time a SIGKILL of learner,
worker, log server or all of them. Later nothing is killed, so that memory can be fitted behind a warm-up, which is a
quarter of the time: a worker keeps half an hour of figures for the dashboard, and grows until it has them.
An event that got no good answer is sent again under its id. At the end: whatever was acknowledged is in the log and
counted once, all digests are those of a second fold, decisions are made again byte by byte, no seat is sold twice; how
fast each kind of process grew, and which requests failed while nothing had been killed. Exit code 1 where one of it is
not so; the growth is told, and judged by the reader.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.overload import Load
from online.archive import open_log
from online.history import History, artifacts_of
from online.pricing.records import Cancellation, QuoteOutcome
from online.records import Event
from tests.api.conftest import ROOT, eventually
from tests.faults.injectors import kill
from tests.faults.long_life import USERS, Life
from tests.faults.memory import Watch, slope
from tests.faults.torture import caught_up, event_ids, verified

PARTS = (("online.learner",), ("api.worker",), ("valkey",), ("valkey", "online.learner", "api.worker"))
# Of Life.act: rollback and undo, surgery by user, freezes, surgery by position, rollback.
ACTS = {0: "rollback and undo", 1: "surgery", 2: "freeze, learned later", 4: "freeze", 5: "surgery", 7: "rollback"}
SETTLES_S = 10.0  # after a killed service is ready again, what had waited is still being answered
# Rings that are full within minutes, so that filling them is no growth.
SMALL = {"event_ids_max": 65_536, "decisions_max": 8_192, "slots_max": 98_304, "attribution_window_s": 60}


class Steady(Load):
    """Requests at a rate; an event that was refused or got no answer comes again."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._again: deque[tuple[str, str, bytes]] = deque()
        self.failed_at: list[float] = []
        self.sent_again = 0

    def request(self) -> tuple[str, str, bytes]:
        if self._again and random.random() < 0.5:
            self.sent_again += 1
            return self._again.popleft()
        return super().request()

    def missed(self, kind: str, name: str, request: bytes) -> None:
        self.failed_at.append(time.monotonic())
        if kind == "event":
            self._again.append((kind, name, request))

    async def empty(self) -> None:
        """Until every event that is to come again is acknowledged."""
        while self._again:
            await self.one()


class Soak:
    """One home, its load, and what is done to it. `killed`: (from, until) in which a request may fail."""

    def __init__(self, home: Path, seed: int) -> None:
        settings = home.with_name(f"{home.name}-settings.json")
        settings.write_text(json.dumps(SMALL))
        self.life = Life(home, [], seed, "--settings", str(settings), "--log-kept", "20000")
        self.chance = random.Random(seed)
        self.killed: list[tuple[float, float]] = []
        self.done: Counter[str] = Counter()
        self.over = threading.Event()
        self.failed: BaseException | None = None

    def fill(self) -> None:
        """Catalogue, flights, and one event of every user: tables grow now, not later."""
        life = self.life
        life.catalogue("s")
        life.post("/v1/items", {"items": [{"item_id": f"i{n}", "title": f"Title {n}"} for n in range(200)]})
        for first in range(0, USERS, 1_000):
            users = [
                {"event_id": f"first-{n}", "event_type": "play", "user_id": f"u{n}", "item_id": f"i{n % 200}"}
                for n in range(first, min(USERS, first + 1_000))
            ]
            life.post("/v1/events", {"events": users})
        life.settled()

    def work(self, every_s: float, kills_s: float) -> None:
        """What is done to the service, until it is over; fares are asked for in between."""
        try:
            number, began = 0, time.monotonic()
            while not self.over.wait(0.0 if not number else every_s):
                number += 1
                self.life._fares(f"s-{number}", 20)
                self._one(number, kills=time.monotonic() - began < kills_s)
        except BaseException as error:
            self.failed = error

    def _one(self, number: int, *, kills: bool) -> None:
        name, drawn = f"soak-{number}", self.chance.random()
        if number == 1:
            self._kill(PARTS[-1])
        elif drawn < 0.25:
            self.life.post("/v1/snapshots", {"label": name}, key=name)
            self.done["snapshot"] += 1
        elif drawn < 0.5 and kills:
            self._kill(self.chance.choice(PARTS))
        else:
            act = self.chance.choice(list(ACTS))
            if act == 1:  # the user that it takes out
                event = {"event_type": "play", "user_id": f"new-{name}", "item_id": "i1"}
                self.life.post("/v1/events", {"events": [event | {"event_id": f"{name}-{k}"} for k in range(50)]})
            self.life.act(name, act)
            self.done[ACTS[act]] += 1

    def _kill(self, parts: tuple[str, ...]) -> None:
        began = time.monotonic()
        for pid, command in self.life.service.children().items():
            if any(part in command for part in parts):
                kill(pid)
        self.killed.append((began, float("inf")))
        time.sleep(1.0)
        assert eventually(self._ready, within_s=120.0), self.life.service.said()[-3_000:]
        self.killed[-1] = (began, time.monotonic() + SETTLES_S)
        self.done[f"SIGKILL of {' + '.join(part.rpartition('.')[2] for part in parts)}"] += 1

    def _ready(self) -> bool:
        import httpx

        with contextlib.suppress(httpx.TransportError):
            client = self.life.service.client
            return client.get("/readyz", timeout=5.0).status_code == 200 and caught_up(self.life.service)
        return False

    def unexplained(self, failed_at: list[float]) -> list[float]:
        """Those failures that no kill explains."""
        return [at for at in failed_at if not any(first <= at <= last for first, last in self.killed)]

    # At the end -----------------------------------------------------------------------------------------------------

    def counted_once(self, state: dict[str, Any]) -> int:
        """How many reports the state counts: as many as there are different ones in what it is the fold of."""
        log = open_log(self.life.service.address["log_url"], self.life.home)
        try:
            history = History(log, artifacts_of(self.life.home))
            found: set[tuple[str, str]] = set()
            for records, _ in history.records(history.lineage_at(state["position"]).segments):
                for _, record in records:
                    match record:
                        case Event():
                            found.add(("event", record.event_id))
                        case QuoteOutcome():
                            found.add(("outcome", record.quote_id))
                        case Cancellation():
                            found.add(("cancellation", record.quote_id))
        finally:
            log.close()
        counted = int(state["applied"] + state["late"])
        assert counted == len(found), f"{counted:,} counted, {len(found):,} different ones"
        assert state["received"] == state["applied"] + state["duplicate"] + state["late"] + state["rejected"]
        return counted

    def reproduced(self, sample: int) -> int:
        """So many decisions of the whole log made again: all identical."""
        command = [sys.executable, "-m", "api.command", "reproduce", "--sample", str(sample), "--json"]
        done = subprocess.run(
            [*command, "--home", str(self.life.home)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return int(json.loads(done.stdout)["identical"])

    def oversold(self) -> float:
        """Seats beyond a flight's capacity, as `/metrics` tells."""
        text = self.life.service.client.get("/metrics").text
        return sum(float(one) for one in re.findall(r"^perennial_seats_beyond_capacity\S* (\S+)", text, re.MULTILINE))


async def load(soak: Soak, *, seconds: float, rate: float | None, every_s: float, warm_s: float) -> dict[str, Any]:
    """The steady stretch; what came of the requests."""
    steady = Steady(soak.life.service.address["url"])
    await steady.calm(warm_s)
    steady.reset()
    began = time.monotonic()
    await steady.calm(warm_s)
    peak = steady.report("peak", time.monotonic() - began)["good_per_s"]
    chosen = peak / 2 if rate is None else rate
    print(f"peak {peak:,.0f} requests/s; {chosen:,.0f}/s from now on", flush=True)
    steady.reset()
    steady.failed_at.clear()
    watch = Watch(lambda: soak.life.service.process.pid)
    began = time.monotonic()
    flood = asyncio.create_task(steady.flood(seconds, chosen))
    work = threading.Thread(target=soak.work, args=(every_s, 0.4 * seconds))
    work.start()
    told = began
    while not flood.done() and soak.failed is None:
        await asyncio.wait([flood], timeout=1.0)
        if time.monotonic() - told >= 60.0:
            told = time.monotonic()
            answered = sum(count for (_, status), count in steady.answers.items() if status < 300)
            done = ", ".join(f"{count} {name}" for name, count in sorted(soak.done.items()))
            print(
                f"  {(told - began) / 60:.0f} min: {answered:,} answered, {len(steady.failed_at):,} failed, "
                f"MB {watch.now_mb()}; {done}",
                flush=True,
            )
    soak.over.set()
    await asyncio.to_thread(work.join)
    watch.stop()
    if soak.failed is not None:
        flood.cancel()
        raise soak.failed
    await flood
    found = steady.report("soak", time.monotonic() - began)
    await steady.empty()
    await steady.close()
    return {"steady": steady, "watch": watch, "peak": peak, "rate": chosen} | found


def told(soak: Soak, found: dict[str, Any], *, minutes: float, warm_up_s: float) -> Iterator[str]:
    """What holds, a line each. Raises AssertionError at the first thing that does not."""
    steady: Steady = found["steady"]
    good = sum(count for (_, status), count in steady.answers.items() if status < 300)
    alone = soak.unexplained(steady.failed_at)
    yield (
        f"{good + len(steady.failed_at):,} requests in {minutes:g} minutes at {found['rate']:,.0f}/s (peak "
        f"{found['peak']:,.0f}/s), p50 {found['ms_p50']} ms, p99 {found['ms_p99']} ms; {len(steady.failed_at):,} "
        f"got no good answer, {len(alone):,} of them with nothing killed; {steady.sent_again:,} events sent again"
    )
    yield "done to it: " + ", ".join(f"{count} {name}" for name, count in sorted(soak.done.items()))
    for kind in ("supervisor", "learner", "worker", "log server", "past"):
        fitted = slope(found["watch"].lives(kind), warm_up_s=warm_up_s)
        if fitted is None:
            yield f"memory of {kind:10}: no life of it outlasted the warm-up of {warm_up_s:.0f} s"
        else:
            yield (
                f"memory of {kind:10}: {fitted.mb_per_hour:+8.2f} ± {fitted.interval:.2f} MB/h, "
                f"{fitted.largest_mb:.0f} MB at most ({fitted.lives} lives, {fitted.hours:.2f} hours of them)"
            )
    state = soak.life.settled()
    in_log = event_ids(soak.life.service, 0)
    lost = set(steady.acknowledged) - in_log
    assert not lost, f"acknowledged and not in the log: {sorted(lost)[:5]}"
    counted = soak.counted_once(state)
    yield f"{len(set(steady.acknowledged)):,} events acknowledged, 0 lost; {counted:,} counted, none twice"
    assert soak.oversold() == 0.0
    checked = verified(soak.life.service)
    yield (
        f"{checked['position']:,} records folded again in {checked['seconds']:.0f} s: {len(checked['compared'])} "
        f"digests, all identical; 0 seats beyond a capacity"
    )
    yield f"{soak.reproduced(100)} decisions made again, all identical"
    assert not alone, f"{len(alone)} requests failed, and nothing had been killed"
    assert not found["refused_without_pause"]


def soaked(home: Path, *, minutes: float, rate: float | None, every_s: float, seed: int, warm_s: float) -> list[str]:
    """The whole of it; the lines that it told."""
    soak = Soak(home, seed)
    lines = []
    try:
        soak.fill()
        found = asyncio.run(load(soak, seconds=60 * minutes, rate=rate, every_s=every_s, warm_s=warm_s))
        for line in told(soak, found, minutes=minutes, warm_up_s=15 * minutes):
            print(line, flush=True)
            lines.append(line)
        assert soak.life.service.stop() == 0
    finally:
        soak.life.close()
        if soak.life.service.process.poll() is None:
            soak.life.service.stop()
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--rate", type=float, help="requests a second; half of the peak without")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between what is done to it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home", type=Path, help="a new folder; a temporary one without")
    options = parser.parse_args()
    random.seed(options.seed)
    chosen = {"minutes": options.minutes, "rate": options.rate, "every_s": options.every, "seed": options.seed}
    try:
        if options.home is not None:
            soaked(options.home, **chosen, warm_s=10.0)
        else:
            with tempfile.TemporaryDirectory(prefix="soak-") as folder:
                soaked(Path(folder) / "home", **chosen, warm_s=10.0)
    except AssertionError as error:
        print(f"BROKEN: {error}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
