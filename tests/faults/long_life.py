"""A long life of one service, over HTTP: events in bulk, slates and fares, and whatever can be done to a past.

    python -m tests.faults.long_life HOME [--events 1000000] [--decisions 12000] [--rounds 20] [--artifact DIR ...]
    python -m api.command verify --home HOME
    python -m api.command reproduce --sample 10000 --home HOME

Between the rounds, in turn: rollback and its undoing, surgery, freeze and resume with and without what came meanwhile,
promotion (of the artifacts behind the first of a kind), and restarts: of the service in order, and by SIGKILL of the
learner, of everything. Run again on the same home it goes on where it ended, with rounds of its own numbers. At the end
it tells what the log holds. Stops at the first answer that is no success, but for those of a service that was killed.
"""

import argparse
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from online.archive import open_log
from online.artifact import artifact_kind
from online.history import History, artifacts_of
from online.log import LogServer
from online.records import BATCH_EVENTS_MAX, Act, decode
from tests.api.conftest import Running, eventually
from tests.faults.injectors import kill

USERS, ITEMS, FLIGHTS = 20_000, 3_000, 40
FIRST_MS = 1_800_000_000_000  # of the flights' simulated dates
DAY_MS = 86_400_000


class Life:
    """One home and its service, and what it was asked."""

    def __init__(self, home: Path, artifacts: list[Path], seed: int, *options: str) -> None:
        self.home = home
        self.options = options  # of `perennial up`; the last one of a name counts
        self.chance = random.Random(seed)
        self.later: dict[str, list[Path]] = {"recommendation": [], "pricing": []}
        self.first = []
        for path in artifacts:
            waiting = self.later[artifact_kind(path)]
            (waiting if any(artifact_kind(one) == artifact_kind(path) for one in self.first) else self.first).append(
                path
            )
        self.day = 0
        self.answered: Counter[int] = Counter()
        self.done: Counter[str] = Counter()
        self._own = threading.local()
        self._clients: list[httpx.Client] = []
        self.service = self._started()

    def _started(self) -> Running:
        fresh = not (self.home / "artifacts").exists()
        chosen = [part for path in self.first for part in ("--artifact", str(path))] if fresh else []
        usual = ("--workers", "2", "--snapshot-every", "15", "--log-kept", "50000")
        return Running(self.home, *usual, *self.options, *chosen)

    def post(self, path: str, body: Any, *, method: str = "POST", key: str | None = None) -> dict[str, Any]:
        """An answer; asked again, under the same ids, while the service is away."""
        deadline = time.monotonic() + 600.0
        while True:
            try:
                headers = {"Idempotency-Key": key} if key else None
                reply = self._client().request(method, self.service.address["url"] + path, json=body, headers=headers)
                self.answered[reply.status_code] += 1
                if reply.status_code < 300:
                    found: dict[str, Any] = reply.json()
                    return found
                if reply.status_code != 503:
                    raise AssertionError(f"{path}: {reply.status_code} {reply.text}")
            except httpx.TransportError:
                self.answered[0] += 1
            if time.monotonic() > deadline:
                raise AssertionError(f"{path}: away for too long\n{self.service.said()[-3_000:]}")
            time.sleep(0.2)

    def _client(self) -> httpx.Client:
        """One for each thread: making one costs more than a request."""
        if not hasattr(self._own, "client"):
            self._own.client = httpx.Client(timeout=600.0)
            self._clients.append(self._own.client)
        client: httpx.Client = self._own.client
        return client

    def close(self) -> None:
        """Let go of all of them."""
        for client in self._clients:
            client.close()

    # What a service is used for -------------------------------------------------------------------------------------

    def catalogue(self, name: str) -> None:
        for first in range(0, ITEMS, 500):
            self.post("/v1/items", {"items": [{"item_id": f"i{k}"} for k in range(first, first + 500)]})
        for k in range(FLIGHTS):
            flight = {"market": f"M{k % 5}", "departs_at": FIRST_MS + (20 + k) * DAY_MS, "capacity": 400}
            flight |= {"currency": "USD", "fare_floor_cents": 5_000, "fare_ceiling_cents": 60_000}
            self.post(f"/v1/flights/{name}-{k}", flight, method="PUT")

    def use(self, name: str, events: int, decisions: int) -> None:
        """A round: events in batches, slates with clicks, fares with what travellers said; three clients at once."""
        failed: list[BaseException] = []

        def guarded(work: Any, *arguments: Any) -> None:
            try:
                work(*arguments)
            except BaseException as error:
                failed.append(error)

        share = (events // 2, decisions * 2 // 3, decisions - decisions * 2 // 3)
        threads = [
            threading.Thread(target=guarded, args=(self._events, f"{name}-a", share[0])),
            threading.Thread(target=guarded, args=(self._events, f"{name}-b", events - share[0])),
            threading.Thread(target=guarded, args=(self._slates, name, share[1])),
            threading.Thread(target=guarded, args=(self._fares, name, share[2])),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    def _events(self, name: str, many: int) -> None:
        chance = random.Random(name)
        for first in range(0, many, BATCH_EVENTS_MAX):
            batch = [
                {
                    "event_id": f"{name}-{k}",
                    "event_type": chance.choice(("play", "play", "click", "like", "rating")),
                    "user_id": f"u{int(USERS * chance.random() ** 2)}" if k % 50 else f"new-{name[:-2]}",
                    "item_id": f"i{int(ITEMS * chance.random() ** 3)}",
                    "value": float(chance.randrange(1, 6)),
                }
                for k in range(first, min(many, first + BATCH_EVENTS_MAX))
            ]
            self.post("/v1/events", {"events": batch})

    def _slates(self, name: str, many: int) -> None:
        chance = random.Random(name)
        for k in range(many):
            user = f"u{int(USERS * chance.random() ** 2)}"
            asked = {"user_id": user, "n": chance.randint(1, 12), "context": {"device": chance.choice(("tv", "phone"))}}
            slate = self.post("/v1/recommendations", asked)
            if chance.random() < 0.5:
                event = {"event_id": f"{name}-s{k}", "event_type": "click", "user_id": user}
                event |= {"item_id": slate["items"][0]["item_id"], "decision_id": slate["decision_id"]}
                self.post("/v1/events", {"events": [event]})

    def _fares(self, name: str, many: int) -> None:
        chance = random.Random(name)
        for k in range(many):
            at = FIRST_MS + self.day * DAY_MS // 4 + k * (DAY_MS // 4) // max(1, many)
            quote = self.post("/v1/quotes", {"flight_id": f"{name[0]}-{chance.randrange(FLIGHTS)}", "asked_at": at})
            if chance.random() < 0.5 and quote["fare_cents"]:
                said = {"outcome": "booked" if chance.random() < 0.2 else "declined", "occurred_at": at + 60_000}
                self.post(f"/v1/quotes/{quote['quote_id']}/outcome", said)
        self.day += 1

    # What is done to its past ---------------------------------------------------------------------------------------

    def act(self, name: str, number: int) -> str:
        """One of the things in turn; what it was."""
        head = self.post("/v1/state", None, method="GET")["log_head"]
        match number % 10:
            case 0:
                done = self._rollback(name, to={"position": max(2, head - self.chance.randrange(500, 5_000))})
                self._rollback(f"{name}-undo", to={"position": done["from"]})
                return "rollback and undo"
            case 1:
                self._rollback(name, without={"users": [f"new-{name}"]})
                return "surgery without a user"
            case 2:
                return self._frozen(name, "learn")
            case 3:
                kill(self.service.pid_of("online.learner"))
                return "SIGKILL of the learner"
            case 4 | 8:
                for kind in ("pricing", "recommendation") if number % 10 == 8 else ("recommendation", "pricing"):
                    if self.later[kind]:
                        artifact = self.later[kind].pop(0)
                        asked = {"act": "promote", "artifact": str(artifact), "reason": "a test"}
                        self.post("/v1/acts", asked, key=f"{name}-promote")
                        return f"promote {kind}"
                return self._frozen(name, "skip")
            case 5:
                self._rollback(name, without={"positions": {"from": head - 2_000, "until": head - 1_500}})
                return "surgery without positions"
            case 6:
                for pid, command in self.service.children().items():
                    if any(part in command for part in ("valkey", "online.learner", "api.worker")):
                        kill(pid)
                return "SIGKILL of everything"
            case 7:
                self._rollback(name, to={"position": max(2, head - self.chance.randrange(50, 500))})
                return "rollback"
            case _:
                assert self.service.stop() == 0
                self.service = self._started()
                return "restart"

    def _rollback(self, name: str, **body: Any) -> dict[str, Any]:
        return self.post("/v1/rollbacks", body | {"reason": "a test"}, key=f"{name}-rollback")

    def _frozen(self, name: str, meanwhile: str) -> str:
        self.post("/v1/acts", {"act": "freeze", "reason": "a test"}, key=f"{name}-freeze")
        self._events(f"{name}-f", 2_000)
        self._slates(f"{name}-f", 20)
        asked = {"act": "resume", "reason": "a test"} | ({"meanwhile": "learn"} if meanwhile == "learn" else {})
        self.post("/v1/acts", asked, key=f"{name}-resume")
        return f"freeze and resume ({meanwhile})"

    def settled(self) -> dict[str, Any]:
        def learned() -> bool:
            now = self.post("/v1/state", None, method="GET")
            return bool(now["learned_position"] >= now["log_head"])

        assert eventually(learned, within_s=600.0), self.service.said()[-3_000:]
        return self.post("/v1/state", None, method="GET")


def told(home: Path) -> str:
    """What a home's log holds, by kind of record; its acts, and how many of them are void."""
    kinds: Counter[str] = Counter()
    server = LogServer.start(home / "log")
    log = open_log(server.url, home)
    try:
        history = History(log, artifacts_of(home))
        after, head = 0, log.head()
        while after < head:
            for position, payload in log.read(after, 1_000, 0):
                record = decode(payload)
                kinds[f"act {record.act}" if isinstance(record, Act) else type(record).__name__] += 1
                after = position
        history.scan(head)
        counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
        return (
            f"{head:,} records, {log.archive.last:,} of them archived, {len(history.lineages.void)} acts void, "
            f"{len(history.lineages.at(head).segments)} stretches in the last lineage: {counts}"
        )
    finally:
        log.close()
        server.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("home", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--decisions", type=int, default=12_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1e9, help="after so many no further round is begun")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--artifact", type=Path, action="append", default=[], help="the first of a kind begins the log")
    options = parser.parse_args()
    began = time.monotonic()
    piece = f"p{int(time.time())}"
    life = Life(options.home, options.artifact, options.seed)
    life.catalogue(piece[0])
    for number in range(options.rounds):
        if time.monotonic() - began > options.seconds:
            break
        name = f"{piece}-{number}"
        life.use(name, options.events // options.rounds, options.decisions // options.rounds)
        done = life.act(name, number)
        life.done[done] += 1
        print(f"  {time.monotonic() - began:.0f} s, round {number + 1}: {done}", flush=True)
    state = life.settled()
    print(f"position {state['position']:,}, digest {state['digest']}; answers {dict(life.answered)} (0: no answer)")
    assert state["received"] == sum(state[name] for name in ("applied", "duplicate", "late", "rejected"))
    assert life.service.stop() == 0
    print(f"{told(options.home)}; {dict(life.done)}  ({time.monotonic() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
