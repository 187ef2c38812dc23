"""The log's server as the simulation has it: what online/log/append.lua does to a stream, a disk, and a network.

It executes one command after the other, writes and syncs what they did, and answers then, as a server with
`appendfsync always` does. When it is stopped, what was not synced is lost but for a torn piece of its beginning.
`tests/faults/test_simulation.py` holds it against the real one.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import hiredis
import redis

Say = Callable[[str], None]


class Batch(NamedTuple):
    """One script call that changed something: all of it survives, or nothing."""

    writer: bytes
    number: int
    payloads: tuple[bytes, ...]


class Refused(Exception):
    """An error reply."""


class Stream:
    """What append.lua keeps: records, and of each writer its last batch."""

    def __init__(self, batches: list[Batch], bug: str = "") -> None:
        self.records: list[bytes] = []
        self.writers: dict[bytes, tuple[int, int]] = {}  # last batch, position of its first record
        self.bug = bug
        for batch in batches:
            self._append(batch)

    def call(self, batch: Batch, known: int) -> tuple[int, bool]:
        """(position of the first record, whether anything was appended). Raises Refused."""
        number, first = self.writers.get(batch.writer, (-1, 0))
        if number == batch.number and self.bug != "no_batch_numbers":
            return first, False
        if number > batch.number and self.bug not in ("stale_batches", "no_batch_numbers"):
            raise Refused("STALEBATCH the writer has sent a later batch since")
        if len(self.records) < known:
            raise Refused(f"WENTBACK {len(self.records)}")
        return self._append(batch), True

    def _append(self, batch: Batch) -> int:
        first = len(self.records) + 1
        self.records += batch.payloads
        self.writers[batch.writer] = (batch.number, first)
        return first


class Server:
    """Up and down; on its disk, the batches that were synced."""

    def __init__(self, loop: Any, chance: random.Random, say: Say, bug: str = "") -> None:
        self.loop, self.chance, self.say, self.bug = loop, chance, say, bug
        self.up = False
        self.slow_s = 0.0
        self.late = 0.0  # of all bytes, how many take long
        self.batches: list[Batch] = []
        self.synced = 0
        self.stream = Stream([], bug)
        self._connections: list[Transport] = []
        self._arrived: asyncio.Queue[tuple[Transport, bytes]] = asyncio.Queue()
        self._serving: asyncio.Task[None] | None = None
        self._ready_at = 0.0

    @property
    def end(self) -> int:
        """The log's last position."""
        return len(self.stream.records)

    def on_disk(self) -> list[bytes]:
        """The records that would survive now."""
        return Stream(self.batches[: self.synced], self.bug).records

    def start(self) -> None:
        self.stream = Stream(self.batches, self.bug)
        self.synced = len(self.batches)
        self.up = True
        self._ready_at = self.loop.now + self.chance.choice((0.0, 0.0, 0.05))
        self._arrived = asyncio.Queue()
        self._serving = self.loop.create_task(self._serve(self._arrived))
        self.say(f"server up with {self.end} records")

    def stop(self) -> None:
        """The power is cut, or the process killed: of what was not synced a beginning may be there or not."""
        self.up = False
        assert self._serving is not None
        self._serving.cancel()
        kept = self.chance.randint(self.synced, len(self.batches))
        self.say(f"server down, {len(self.batches) - kept} of {len(self.batches) - self.synced} unsynced batches lost")
        del self.batches[kept:]
        self.synced = len(self.batches)
        self.drop_connections()

    def drop_connections(self) -> None:
        """Every connection breaks; what clients had sent may still arrive."""
        self.say(f"{len(self._connections)} connections break")
        for transport in self._connections[:]:
            transport.break_off()

    async def connect(self, protocol_factory: Any) -> Any:
        await asyncio.sleep(self.chance.uniform(0.0, 0.01))
        if not self.up:
            raise ConnectionRefusedError("the server is down")
        protocol = protocol_factory()
        transport = Transport(self, protocol)
        self._connections.append(transport)
        protocol.connection_made(transport)
        return transport, protocol

    def arrive(self, transport: "Transport", data: bytes) -> None:
        if self.up:
            self._arrived.put_nowait((transport, data))

    def forget(self, transport: "Transport") -> None:
        if transport in self._connections:
            self._connections.remove(transport)

    async def _serve(self, arrived: "asyncio.Queue[tuple[Transport, bytes]]") -> None:
        while True:
            transport, data = await arrived.get()
            transport.parser.feed(data)
            replies = []
            while (command := transport.parser.gets()) is not False:
                replies.append(self._execute(command))
            if self.bug == "ack_before_sync":
                transport.answer(b"".join(replies))
            if self.synced < len(self.batches):
                await asyncio.sleep(self.chance.uniform(0.0001, 0.004) + self.slow_s * self.chance.random())
                self.synced = len(self.batches)
            if self.bug != "ack_before_sync":
                transport.answer(b"".join(replies))

    def _execute(self, command: list[bytes]) -> bytes:
        name = command[0].upper()
        if self.loop.now < self._ready_at:
            return b"-LOADING the dataset is loading in memory\r\n"
        if name == b"SCRIPT":
            return b"$40\r\n" + b"a" * 40 + b"\r\n"
        if name == b"GET":
            return b"$%d\r\n%d\r\n" % (len(b"%d" % self.end), self.end)
        if name == b"HSET":
            if self.bug == "forgotten_writers":
                self.stream.writers.pop(command[2], None)
                return b":0\r\n"
            number, first = command[3].split(b" ")
            self.stream.writers[command[2]] = (int(number), int(first))
            return b":0\r\n"
        assert name == b"EVALSHA", command[:2]
        keys = int(command[2])
        writer, number, known, claims, *payloads = command[3 + keys :]
        assert int(claims) == 0
        batch = Batch(writer, int(number), tuple(payloads))
        try:
            first, changed = self.stream.call(batch, int(known))
        except Refused as refused:
            self.say(f"refused {refused}")
            return b"-%s\r\n" % str(refused).encode()
        if changed:
            self.batches.append(batch)
        self.say(f"batch {writer.decode()} {int(number)}: {len(payloads)} at {first}{'' if changed else ' again'}")
        return b":%d\r\n" % first


class Transport(asyncio.Transport):
    """One connection: bytes take their time, in order; what was on the way when it breaks may arrive or not."""

    def __init__(self, server: Server, protocol: Any) -> None:
        super().__init__()
        self.parser = hiredis.Reader()
        self._server, self._protocol = server, protocol
        self._open = True
        self._there = self._back = 0.0  # when the last bytes arrive

    def write(self, data: bytes | bytearray | memoryview) -> None:
        content = bytes(data)
        self._there = max(self._there, self._server.loop.now + self._delay())
        self._server.loop.call_at(self._there, self._arrive, content)

    def _delay(self) -> float:
        chance = self._server.chance
        return chance.uniform(0.1, 0.9) if chance.random() < self._server.late else chance.uniform(0.0, 0.002)

    def _arrive(self, content: bytes) -> None:
        if self._open:
            self._server.arrive(self, content)
        elif self._server.chance.random() < 0.7:  # the network had it still, and has its own time
            self._server.loop.call_later(self._server.chance.uniform(0.0, 1.0), self._server.arrive, self, content)

    def answer(self, content: bytes) -> None:
        self._back = max(self._back, self._server.loop.now + self._delay())
        self._server.loop.call_at(self._back, self._deliver, content)

    def _deliver(self, content: bytes) -> None:
        if self._open:
            self._protocol.data_received(content)

    def break_off(self) -> None:
        """From the server's side or in between."""
        if self._open:
            self._open = False
            self._server.forget(self)
            self._server.loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self._open = False
        self._server.forget(self)

    def close(self) -> None:
        self.abort()

    def is_closing(self) -> bool:
        return not self._open


class SyncConnection:
    """What `LogReader` asks, answered at once from what is on the disk: it is told of nothing before it is there."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._asked: list[Any] = []

    def send_command(self, *command: Any) -> None:
        if not self._server.up or self._server.chance.random() < 0.4 * self._server.late:
            raise redis.exceptions.ConnectionError("the server is away")
        self._asked.append(command)

    def read_response(self, timeout: float | None = None) -> Any:
        command = self._asked.pop()
        server = self._server
        records = server.stream.records if server.bug == "reads_unsynced" else server.on_disk()
        match command[0]:
            case "XREAD":
                after = int(command[-1].split("-")[0])
                found = enumerate(records[after : after + command[2]], start=after + 1)
                entries = [(b"%d-0" % at, [b"r", payload]) for at, payload in found]
                return [[b"log", entries]] if entries else None
            case "XRANGE":
                at = int(command[2].split("-")[0])
                return [(b"%d-0" % at, [b"r", records[at - 1]])] if 0 < at <= len(records) else []
            case "EXISTS":
                return int(bool(records))
            case "XINFO":
                return [b"last-generated-id", b"%d-0" % len(records)]
        raise AssertionError(command)

    def disconnect(self) -> None:
        self._asked.clear()
