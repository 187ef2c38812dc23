"""The whole in one process, on one seed: clock, network, disk and the log's server are simulated, all else is real.

    python -m tests.faults.simulation [--seeds 1000] [--first 0] [--bug NAME]

Real are the writers with their wire (`online.log.writer`), the reader, the learner with its fold, lineages, snapshots
and retention, and the snapshots' files. Simulated are what a seed must decide: an event loop whose clock jumps to the
next thing that is due; connections that delay, break, and deliver the last bytes of the dead; a server that executes
what append.lua executes and keeps after a power cut what was synced and a torn piece of the rest; processes that are
killed, also in the middle of writing a snapshot; a wall clock that jumps. One seed is one interleaving: run it again
and the same things happen in the same order (`trace`). Claims, the archive and erasures are not simulated.

What must hold: what was acknowledged is in the log, where it was said to be; nothing is in it twice; the learner never
sees a gap or a log that went back; its state has the digest of a fold from scratch; so has every snapshot, and loads.
"""

import argparse
import asyncio
import contextlib
import hashlib
import io
import random
import selectors
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from online import durable
from online.history import History
from online.journal import taken
from online.learner import Learner
from online.lineage import Arguments, Cut, user_key
from online.log import LogGap, LogReader, LogUnavailable, LogWentBack, LogWriter
from online.records import Act, Begin, Event, ItemUpsert, Record, encode
from online.settings import Settings, settings_text
from online.snapshot import list_snapshots, load_snapshot
from online.touched import Touched
from tests.faults.injectors import bound
from tests.faults.simulated_server import Server, SyncConnection
from tests.online.records_in_memory import Records

RULES = Settings(
    attribution_window_s=600, event_ids_max=64, decisions_max=32, slots_max=800, users_max=64, items_max=400
)
BUGS = {
    "ack_before_sync": "the server answers before its disk has it",
    "no_batch_numbers": "a batch that is sent again is appended again",
    "stale_batches": "the last bytes of a dead connection count",
    "forgotten_writers": "what a writer had sent is forgotten when it closes",
    "reads_unsynced": "the learner is shown what is not on the disk",
    "unnoted_rows": "a snapshot is written from a journal that leaves rows of users out",
    "forgotten_ids": "the ids of known events are lost with the learner",
}
CHAOS_S, SETTLE_S = 4.0, 60.0
WRITERS, APPENDERS = 2, 3


class Broken(AssertionError):
    """A promise that was not kept, with the seed that shows it."""


class Crashed(Exception):
    """The process is gone at this place."""


class Loop(asyncio.SelectorEventLoop):
    """Time passes when nothing is left to do: the clock jumps to what is due next."""

    def __init__(self, connect: Callable[[Any], Any]) -> None:
        self.now = 0.0
        self._connect_to = connect
        super().__init__(_Clockwork(self))

    def time(self) -> float:
        return self.now

    async def create_unix_connection(self, protocol_factory: Any, path: Any = None, **_: Any) -> Any:  # type: ignore[override]
        return await self._connect_to(protocol_factory)


class _Clockwork(selectors.SelectSelector):
    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Broken("nothing is left to happen, and not everything is done")
        self._loop.now += max(0.0, timeout)
        return []


class Simulation:
    """One seed's interleaving."""

    def __init__(self, seed: int, home: Path, bug: str = "") -> None:
        assert not bug or bug in BUGS, bug
        self.seed, self.home, self.bug = seed, home, bug
        self.chance = random.Random(seed)
        self.trace: list[str] = []
        self.calm = False
        self.acknowledged: dict[bytes, int] = {}
        self.wall_ms = 1_700_000_000_000
        self.writers: dict[int, LogWriter] = {}
        self.learner: Learner | None = None
        self.kill_learner = False
        self.counts = dict.fromkeys(("appends", "refused", "cuts", "kills", "snapshots", "torn", "acts"), 0)
        self.loop = Loop(lambda factory: self.server.connect(factory))
        self.server = Server(self.loop, self.chance, self.say, bug)
        self.failed: list[str] = []
        self.loop.set_exception_handler(lambda _, told: self.failed.append(str(told.get("exception", told["message"]))))
        self._made = 0

    def say(self, text: str) -> None:
        """A line of the trace: what happened, and when."""
        self.trace.append(f"{self.loop.now:.6f} {text}")

    @property
    def fingerprint(self) -> str:
        """Of everything that happened."""
        return hashlib.blake2b("\n".join(self.trace).encode(), digest_size=8).hexdigest()

    def run(self) -> None:
        """Raises Broken."""
        try:
            with contextlib.redirect_stderr(io.StringIO()), self._failpoints():
                self.loop.run_until_complete(self._main())
                self._check()
        except Broken as broken:
            raise Broken(f"seed {self.seed}{f', bug {self.bug}' if self.bug else ''}: {broken}") from broken
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()

    @contextlib.contextmanager
    def _failpoints(self) -> Iterator[None]:
        """A learner may die between two steps of writing a file."""

        def passed(name: str) -> None:
            if not self.calm and self.chance.random() < 0.15:
                self.counts["torn"] += 1
                self.say(f"the learner dies at {name}")
                raise Crashed(name)

        before, durable.failpoint = durable.failpoint, passed  # type: ignore[attr-defined]
        try:
            yield
        finally:
            durable.failpoint = before  # type: ignore[attr-defined]

    async def _main(self) -> None:
        self.server.start()
        writer = await self._writer(-1)
        await writer.append([encode(Begin(1, "", RULES.seed, settings_text(RULES), 0))])
        await writer.close()
        names = range(WRITERS * APPENDERS)
        for number in range(WRITERS):
            await self._writer(number)
        appenders = [self.loop.create_task(self._appender(name)) for name in names]
        learning = self.loop.create_task(self._learn())
        chaos = self.loop.create_task(self._chaos())
        await asyncio.sleep(CHAOS_S)
        self.calm = True
        self.say("calm")
        await chaos
        deadline = self.loop.now + SETTLE_S
        while not all(task.done() for task in appenders):
            if self.loop.now > deadline:
                raise Broken("appenders wait although everything is up again")
            await asyncio.sleep(0.05)
        for task in appenders:
            task.result()
        while self.learner is None or self.learner.state.position < self.server.end:
            if learning.done():
                learning.result()
            if self.loop.now > deadline:
                raise Broken("the learner does not catch up although everything is up again")
            await asyncio.sleep(0.05)
        learning.cancel()
        for writer in self.writers.values():
            await writer.close()

    # Who takes part ------------------------------------------------------------------------------------------------

    async def _writer(self, number: int) -> LogWriter:
        writer = LogWriter("unix:///simulated", patience_s=0.4, reply_timeout_s=0.5)
        writer.writer_id = f"writer-{number}-{self._made}"
        self._made += 1
        self.writers[number] = writer
        await writer.start()
        return writer

    def _record(self, name: int, turn: int, attempt: int) -> bytes:
        chance = self.chance
        self.wall_ms += chance.choice((0, 1, 40, 3_000))
        who = f"{name}.{turn}.{attempt}"  # no two attempts are the same bytes
        drawn = chance.random()
        record: Record
        if drawn < 0.04 and self.server.end > 20:
            self.counts["acts"] += 1
            to = chance.randrange(2, self.server.end)
            cut = Cut(users=(user_key(f"u{chance.randrange(8)}"),)) if chance.random() < 0.6 else None
            told = Arguments(to=to, without=cut) if cut else Arguments(to=to)
            text = msgspec.json.encode(told, order="sorted").decode()
            record = Act("rollback", "a simulation", self.wall_ms, client=who, arguments=text, act_id=f"a{name}.{turn}")
        elif drawn < 0.08:
            record = Act(chance.choice(("freeze", "resume")), "a simulation", self.wall_ms, client=who)
        elif drawn < 0.14:
            record = ItemUpsert(f"i{chance.randrange(30)}", self.wall_ms, title=who, client=who)
        else:
            record = Event(
                f"e{name}.{turn}",  # of every attempt: only one of them counts
                chance.choice(("click", "watch", "like")),
                f"u{chance.randrange(8)}",
                f"i{chance.randrange(30)}",
                self.wall_ms,
                self.wall_ms,
                client=who,
            )
        return encode(record)

    async def _appender(self, name: int) -> None:
        """One record after the other; what is refused is tried again, as a client would."""
        turn = attempt = 0
        while not self.calm:
            record = self._record(name, turn, attempt)
            self.counts["appends"] += 1
            try:
                position = await asyncio.wait_for(self.writers[name % WRITERS].append([record]), 10.0)
            except (LogUnavailable, TimeoutError, RuntimeError):
                self.counts["refused"] += 1
                attempt += 1
                await asyncio.sleep(self.chance.uniform(0.0, 0.2))
                continue
            except LogWentBack as error:
                raise Broken(f"a writer was told that the log went back: {error}") from error
            self.acknowledged[record] = position
            self.say(f"acknowledged {position}")
            turn, attempt = turn + 1, 0
            await asyncio.sleep(self.chance.uniform(0.0, 0.03))

    async def _learn(self) -> None:
        """The learner's process, started again whenever it is gone."""
        while True:
            self.learner, self.kill_learner = None, False
            await asyncio.sleep(self.chance.uniform(0.01, 0.2))
            try:
                await self._one_learner()
            except (LogUnavailable, Crashed) as gone:
                self.say(f"the learner is gone: {gone}")
            except (LogGap, LogWentBack) as error:
                raise Broken(f"the learner: {type(error).__name__}: {error}") from error

    async def _one_learner(self) -> None:
        chance = self.chance
        reader = LogReader("unix:///simulated")
        reader._connection = SyncConnection(self.server)  # type: ignore[assignment]
        learner = Learner(self.home, reader, None, RULES)  # type: ignore[arg-type]
        self.say(f"learner starts at {learner.state.position}")
        if self.bug == "forgotten_ids":
            learner.state.views.seen.key[:] = 0
            learner.state.views.seen.head[:] = -1
        learner.catch_up()
        learner._touched = learner._all_touched()
        self.learner = learner
        switched, generation = learner.timeline.switched, learner.state.generation
        since = learner.state.position
        while True:
            await asyncio.sleep(chance.uniform(0.0, 0.05))
            if self.kill_learner:
                raise Crashed("killed")
            try:
                learner._fold(reader.read(learner.state.position, chance.choice((1, 7, 64)), 0))
            except LogUnavailable:
                continue
            rows = {name: taken(journal) for name, journal in learner.state.journals().items()}
            known = learner.state.generation == generation and learner.timeline.switched == switched
            learner._note(rows if known else dict.fromkeys(rows))
            if self.bug == "unnoted_rows":
                learner._touched._pieces["users"] = [np.zeros(0, np.int32)]
                learner._touched._whole.clear()
            switched, generation = learner.timeline.switched, learner.state.generation
            if learner.state.position - since >= 5 and chance.random() < 0.3:
                self.say(f"snapshot at {learner.state.position}")
                learner._write("simulated", learner._entry, learner._touched)
                learner._touched = Touched(learner.timeline.lineage.last, learner.state.arrays)
                since = learner.state.position
                self.counts["snapshots"] += 1

    async def _chaos(self) -> None:
        chance = self.chance
        while not self.calm:
            await asyncio.sleep(chance.uniform(0.0, 0.25))
            match chance.choice(("cut", "server", "drop", "worker", "restart", "learner", "clock", "slow", "tree")):
                case "cut" | "server":
                    self.counts["cuts"] += 1
                    self.server.stop()
                    await asyncio.sleep(chance.choice((0.01, 0.05, 0.3, 0.7)))
                    self.server.start()
                case "drop":
                    self.server.drop_connections()
                case "worker":
                    self.counts["kills"] += 1
                    number = chance.randrange(WRITERS)
                    self.say(f"worker {number} dies")
                    self._kill_writer(self.writers[number])
                    await self._writer(number)
                case "restart":
                    number = chance.randrange(WRITERS)
                    self.say(f"worker {number} is restarted")
                    leaving = self.writers[number]
                    if chance.random() < 0.6:
                        self.server.drop_connections()
                        await asyncio.sleep(0.1)
                    await self._writer(number)
                    await leaving.close()
                case "learner":
                    self.counts["kills"] += 1
                    self.say("the learner is killed")
                    self.kill_learner = True
                case "clock":
                    self.wall_ms += chance.choice((-86_400_000, -1_000, 60_000, 86_400_000))
                case "slow":
                    self.server.slow_s = chance.choice((0.0, 0.02, 0.9))
                case "tree":
                    for tree in sorted((self.home / "snapshots" / "trees").glob("*"))[:1]:
                        tree.write_bytes(tree.read_bytes()[: chance.randrange(200)])  # was never synced
        self.server.slow_s = 0.0
        if not self.server.up:
            self.server.start()

    def _kill_writer(self, writer: LogWriter) -> None:
        """SIGKILL: nothing is said goodbye to, and what waited was never answered."""
        if writer._wire is not None:
            writer._wire.abort()
        if writer._connecting is not None:
            writer._connecting.cancel()
        writer._give_up()
        writer._fatal = lambda: LogUnavailable("killed")

    # What must hold ------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self.failed:
            raise Broken(f"something failed that nobody waited for: {self.failed[0]}")
        there = self.server.on_disk()
        for record, position in self.acknowledged.items():
            if not (position <= len(there) and there[position - 1] == record):
                what = "another" if position <= len(there) else "lost"
                raise Broken(f"the record acknowledged at position {position} is {what}")
        if len(set(there)) != len(there):
            raise Broken("a record stands in the log twice")
        assert self.learner is not None
        log = Records([])
        log.payloads = there
        scratch = History(log, lambda _: None)
        learner = self.learner.timeline
        if learner.position > len(there):
            raise Broken(f"the learner has folded position {learner.position} of a log that ends at {len(there)}")
        place = scratch.state_at(learner.position)
        if place.state.digest() != learner.state.digest():
            raise Broken(f"the state at {learner.position} is not that of a fold from scratch")
        for snapshot in list_snapshots(self.home / "snapshots"):
            if snapshot.position > len(there):
                raise Broken(f"snapshot {snapshot.id} stands at {snapshot.position}, behind the log's end {len(there)}")
            loaded = load_snapshot(self.home / "snapshots", snapshot, None)
            wanted = scratch.build(snapshot.lineage).state.digest()
            if not loaded.digest() == snapshot.state_digest == wanted:
                raise Broken(f"snapshot {snapshot.id} at {snapshot.position} is not that of a fold from scratch")


def simulate(seed: int, *, bug: str = "") -> Simulation:
    """Run one seed in a folder of its own. Raises Broken with the seed."""
    memory = Path("/dev/shm")
    home = Path(tempfile.mkdtemp(prefix="simulated-", dir=memory if memory.is_dir() else None))
    try:
        simulation = Simulation(seed, home, bug)
        simulation.run()
        return simulation
    finally:
        shutil.rmtree(home)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--bug", default="", choices=["", *BUGS])
    options = parser.parse_args()
    totals: dict[str, int] = {}
    for seed in range(options.first, options.first + options.seeds):
        try:
            done = simulate(seed, bug=options.bug)
        except Broken as broken:
            print(f"{broken}\nagain: python -m tests.faults.simulation --first {seed} --seeds 1", flush=True)
            return 1
        for name, count in (done.counts | {"acknowledged": len(done.acknowledged)}).items():
            totals[name] = totals.get(name, 0) + count
    print(f"simulation: {bound(options.seeds)}; " + ", ".join(f"{n:,} {name}" for name, n in totals.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
