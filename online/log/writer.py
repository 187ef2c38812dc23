"""Appends records to the log: what it has answered is on the disk, once, in order.

`appendfsync always` makes the server wait for the disk before it replies, which for one append at a time
would mean one disk write each. So all appends that arrive while a batch is under way travel together in the
next one: one script call, one write to the disk (group commit). One batch is under way at a time, and that is
what keeps the order and makes a lost reply harmless: the batch is sent again under its number, and the script
answers it as before.

Measured (`python benchmarks/log_append.py`, records of 220 bytes, each on the disk before its answer, two cores that
other work kept busy): 1 appender 332/s, 32 5,993/s, 256 29,510/s, at 186, 11.4 and 5.6 us of this process's CPU each.

When the server is away, appends wait `patience_s` for its return, a restart being shorter than that; then
they, and all that come after, are refused at once until it is back. The writer reconnects by itself.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from importlib import resources
from typing import Any, NamedTuple

import hiredis
from redis.connection import parse_url

from online.log.errors import LogBroken, LogError, LogUnavailable, LogWentBack
from online.log.keys import LogKeys
from online.log.wire import Reply, Wire, open_wire, pack

# Replies that pass: memory full, disk errors, still loading, a replica, a long script. The batch was not
# kept.
_PASSING = (
    "OOM",
    "MISCONF",
    "LOADING",
    "READONLY",
    "BUSY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "NOREPLICAS",
    "TRYAGAIN",
)
_RECONNECT = ("NOSCRIPT", "LOADING", "READONLY")
_CLOSED = 2**53 - 1  # a batch number above all others
_CLAIM_WORDS = 6  # of one claim, as append.lua takes it
_DELAY_FIRST_S, _DELAY_MAX_S = 0.01, 0.25


class Claim(NamedTuple):
    """A condition on a record: it is appended where the stock grants this, in the same step. See append.lua.

    verb: limit (set the stock's places to `number`), hold (a place until `number`), take (a place, until `number` and
    not later), pass (let go what is held), give (back what was taken). `at` is the time by which holds end.
    """

    stock: str
    verb: str
    id: str
    at: int
    number: int = 0


class Verdict(NamedTuple):
    """What came of a claim: granted, again (it had been granted before, at `position`), or why it was not: none_left,
    expired, unknown, in_use, taken, given_back. `left`: places after it; with `again`, after the first time."""

    code: str
    position: int
    left: int


Tell = Callable[[int | None, Exception | None], None]


class _Told:
    """What of a future the writer uses, for one who is called and does not wait."""

    __slots__ = ("_is_done", "_tell")

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._is_done = False

    def cancelled(self) -> bool:
        return False

    def done(self) -> bool:
        return self._is_done

    def set_result(self, position: Any) -> None:
        self._is_done = True
        self._tell(position, None)

    def set_exception(self, error: Exception) -> None:
        self._is_done = True
        self._tell(None, error)


class _Append(NamedTuple):
    payloads: Sequence[bytes]
    done: "asyncio.Future[Any] | _Told"
    size: int
    claim: Claim | None = None


class _Batch(NamedTuple):
    packed: bytes
    appends: list[_Append]


def _went_back(*, known: int, found: int) -> LogWentBack:
    return LogWentBack(
        f"the log ends at position {found}, but position {known} was acknowledged: this is another log, or "
        "one that lost records. Nothing is appended to it. Bring the right data back, or start anew."
    )


class LogWriter:
    """The one writer of a process. Create it anywhere, use it in one event loop.

    patience_s: how long appends wait for a server that is away. reply_timeout_s: how long a connected server
    may take for a batch (a slow disk) before it counts as away. queue_bytes_max: records waiting; beyond it
    appends are refused.
    """

    def __init__(
        self,
        url: str,
        *,
        keys: LogKeys | None = None,
        patience_s: float = 0.4,
        reply_timeout_s: float = 2.0,
        queue_bytes_max: int = 32 << 20,
        batch_bytes_max: int = 1 << 20,
        batch_records_max: int = 1_000,
    ) -> None:
        parse_url(url)  # a malformed address fails here
        self.head = 0  # last position known to be taken
        self.writer_id = secrets.token_hex(8)
        self._url = url
        self._keys = keys or LogKeys()
        self._patience_s = patience_s
        self._reply_timeout_s = reply_timeout_s
        self._queue_bytes_max = queue_bytes_max
        self._batch_bytes_max = batch_bytes_max
        self._batch_records_max = batch_records_max

        self._queue: deque[_Append] = deque()
        self._queue_bytes = 0
        self._batch_number = 0
        self._in_flight: _Batch | None = None
        self._flush_scheduled = False
        self._script = b""
        self._names: tuple[bytes, ...] = ()
        self._wire: Wire | None = None
        self._away: str | None = "not started"  # why the server does not answer; None while it does
        self._refuse = True  # patience is over
        self._fatal: Callable[[], LogError] | None = None  # why it is over for good
        self._timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._changed: asyncio.Event | None = None

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    @property
    def connected(self) -> bool:
        """Whether an append would be sent now."""
        return self._wire is not None

    async def start(self) -> None:
        """Connect; back once connected, or after `patience_s`. An absent server is no error here."""
        self._changed = asyncio.Event()
        self._refuse = False
        self._lost_server("connecting")
        await self._wait_until(lambda: self.connected or self._refuse or self._fatal is not None)

    async def close(self, *, drain_s: float = 5.0) -> None:
        """Take no more, wait for what is under way, let go of the connection."""
        if self._changed is None:
            return
        try:
            async with asyncio.timeout(drain_s):
                await self._wait_until(lambda: not self._queue and self._in_flight is None)
                if self._wire is not None:
                    # A broken connection's last bytes may still arrive, and must be known as old: the entry says that
                    # nothing comes from this writer any more, and is the first to be forgotten.
                    told = f"{_CLOSED} 0"
                    await self._wire.call("HSET", self._keys.writers, self.writer_id, told, timeout_s=drain_s)
        except (TimeoutError, OSError, hiredis.ReplyError):
            # The entry stays and is forgotten in its turn; whoever still waits is told below.
            pass
        self._fatal = partial(LogUnavailable, "the writer is closed")
        while self._connecting is not None and not self._connecting.done():  # another one may have begun meanwhile
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._wire is not None:
            self._wire.abort()
            self._wire = None
        self._stop_timer()
        batch, self._in_flight = self._in_flight, None
        if batch is not None:
            self._fail(batch.appends, self._fatal)
        self._fail_all(self._fatal)

    async def append(self, payloads: Sequence[bytes]) -> int:
        """Keep `payloads`, in order, next to each other; the position of the last, once they are on the disk.

        Raises LogUnavailable (send again later), LogWentBack and LogBroken (an operator has to look).
        """
        return await self.submit(payloads)

    def submit(self, payloads: Sequence[bytes]) -> "asyncio.Future[int]":
        """As `append`, without a coroutine: the future of the last position. Raises what append raises."""
        if not payloads:
            raise ValueError("nothing to append")
        return self._submit(payloads, None)

    def tell(self, payload: bytes, tell: "Tell") -> None:
        """As `append` of one record, without a future: calls tell(position, None), or tell(None, why not), at once when
        it is known. `tell` must not raise. Raises, before, what append raises."""
        self._enqueue([payload], _Told(tell), None)

    def claim(self, payload: bytes, claim: Claim) -> "asyncio.Future[Verdict]":
        """Append one record if its claim is granted, in one step. Raises, then or later, what append raises."""
        return self._submit([payload], claim)

    def _submit(self, payloads: Sequence[bytes], claim: Claim | None) -> "asyncio.Future[Any]":
        done: asyncio.Future[Any] = self._loop.create_future()
        self._enqueue(payloads, done, claim)
        return done

    def _enqueue(self, payloads: Sequence[bytes], done: "asyncio.Future[Any] | _Told", claim: Claim | None) -> None:
        if self._fatal is not None:
            raise self._fatal()
        if self._refuse:
            raise self._unavailable()
        size = sum(map(len, payloads))
        if self._queue and self._queue_bytes + size > self._queue_bytes_max:
            raise LogUnavailable(f"{self._queue_bytes} bytes are waiting to be written already")
        self._queue.append(_Append(payloads, done, size, claim))
        self._queue_bytes += size
        if not self._flush_scheduled:
            self._flush_soon()

    def _flush_soon(self) -> None:
        # At the end of this turn of the loop: everyone who is about to append in it travels along.
        if self._in_flight is None and self._wire is not None:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._in_flight is not None or self._wire is None:
            return
        appends: list[_Append] = []
        records: list[bytes] = []
        size = 0
        queue = self._queue
        while queue:
            following = queue[0]
            if appends and (
                size + following.size > self._batch_bytes_max
                or len(records) + len(following.payloads) > self._batch_records_max
            ):
                break
            queue.popleft()
            self._queue_bytes -= following.size
            if following.done.cancelled():  # its caller went away before it was sent
                continue
            appends.append(following)
            records.extend(following.payloads)
            size += following.size
        if not appends:
            self._notify()
            return
        self._batch_number += 1
        self._in_flight = _Batch(self._packed(appends, records), appends)
        self._send()

    def _packed(self, appends: list[_Append], records: list[bytes]) -> bytes:
        """The script's call: keys, writer, batch, what is known, claims, records."""
        stocks: dict[str, int] = {}
        claims: list[bytes | str] = []
        number = 1  # of the next record
        for append in appends:
            claim = append.claim
            if claim is not None:
                key = stocks.setdefault(claim.stock, len(self._names) + len(stocks) + 1)
                numbers = (b"%d" % claim.at, b"%d" % claim.number)
                claims += (b"%d" % number, b"%d" % key, claim.verb, claim.id, *numbers)
            number += len(append.payloads)
        keys: tuple[bytes | str, ...] = (*self._names, *(self._keys.stock(stock) for stock in stocks))
        counts = (b"%d" % self._batch_number, b"%d" % self.head, b"%d" % (len(claims) // _CLAIM_WORDS))
        return pack(b"EVALSHA", self._script, b"%d" % len(keys), *keys, self.writer_id, *counts, *claims, *records)

    def _send(self) -> None:
        assert self._wire is not None and self._in_flight is not None
        self._timer = self._loop.call_later(self._reply_timeout_s, self._on_silence)
        self._wire.request(self._in_flight.packed, self._on_reply)

    def _on_reply(self, reply: Reply) -> None:
        self._stop_timer()
        batch = self._in_flight
        assert batch is not None
        if type(reply) in (int, list):
            self._in_flight = None
            self._settle(batch.appends, reply if type(reply) is list else [reply])
        else:
            self._on_refusal(batch, str(reply))
        if self._queue:
            self._flush_soon()
        else:
            self._notify()

    def _settle(self, appends: list[_Append], reply: list[Any]) -> None:
        """Tell everybody of a batch. reply: position of its first record, and three words for each claim."""
        position, told = reply[0] - 1, 1
        outcomes: list[int | Verdict] = []
        for append in appends:
            if append.claim is None:
                position += len(append.payloads)
                outcomes.append(position)
            else:
                code, at, left = reply[told : told + 3]
                told += 3
                verdict = Verdict(code.decode(), at, left)
                position += verdict.code == "granted"
                outcomes.append(verdict)
        self.head = position
        for append, outcome in zip(appends, outcomes, strict=True):
            if not append.done.done():
                append.done.set_result(outcome)

    def _on_refusal(self, batch: _Batch, reply: str) -> None:
        code, _, rest = reply.partition(" ")
        if code == "WENTBACK":
            self._in_flight = None
            self._fatal = partial(_went_back, known=self.head, found=int(rest))
            self._fail(batch.appends, self._fatal)
            self._fail_all(self._fatal)
            return
        if code in _RECONNECT:
            # The next connection loads the script, waits for the loading, and sends this batch again.
            assert self._wire is not None
            self._wire.abort()
            self._lost_server(reply)
            return
        self._in_flight = None
        self._fail(batch.appends, partial(LogUnavailable if code in _PASSING else LogBroken, reply))

    def _on_silence(self) -> None:
        assert self._wire is not None
        self._wire.abort()
        self._lost_server(f"no reply for {self._reply_timeout_s:g} s")
        self._give_up()  # they have waited long enough

    def _on_lost(self, wire: Wire, error: Exception) -> None:
        if wire is self._wire:
            self._lost_server(str(error) or type(error).__name__)

    def _lost_server(self, reason: str) -> None:
        self._wire = None
        self._away = reason
        self._stop_timer()
        self._timer = self._loop.call_later(self._patience_s, self._give_up)
        self._connecting = self._loop.create_task(self._connect())

    def _give_up(self) -> None:
        self._stop_timer()
        self._refuse = True
        batch, self._in_flight = self._in_flight, None
        error = self._fatal or self._unavailable
        if batch is not None:
            self._fail(batch.appends, error)
        self._fail_all(error)

    def _unavailable(self) -> LogUnavailable:
        return LogUnavailable(f"the log's server is away: {self._away}")

    async def _connect(self) -> None:
        script = resources.files("online.log").joinpath("append.lua").read_text("ascii")
        keys = self._keys
        delay_s = _DELAY_FIRST_S
        while True:
            wire = None
            try:
                wire = await open_wire(self._url, on_lost=self._on_lost, timeout_s=self._reply_timeout_s)
                sha = await wire.call("SCRIPT", "LOAD", script, timeout_s=self._reply_timeout_s)
                end = int(await wire.call("GET", keys.sequence, timeout_s=self._reply_timeout_s) or 0)
                break
            except (OSError, TimeoutError, hiredis.HiredisError) as error:
                self._away = str(error) or type(error).__name__
                if wire is not None:
                    wire.abort()
            except asyncio.CancelledError:
                if wire is not None:
                    wire.abort()
                raise
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _DELAY_MAX_S)
        if end < self.head:
            wire.abort()
            self._fatal = partial(_went_back, known=self.head, found=end)
            self._give_up()
            return
        self._wire, self._away, self._refuse = wire, None, False
        self._script, self._names = sha, (keys.log.encode(), keys.sequence.encode(), keys.writers.encode())
        self._stop_timer()
        if self._in_flight is not None:
            self._send()
        else:
            self.head = end
            self._flush()
        self._notify()

    def _fail_all(self, error: Callable[[], LogError]) -> None:
        waiting, self._queue = list(self._queue), deque()
        self._queue_bytes = 0
        self._fail(waiting, error)
        self._notify()

    def _fail(self, appends: list[_Append], error: Callable[[], LogError]) -> None:
        for append in appends:
            if not append.done.done():
                append.done.set_exception(error())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        assert self._changed is not None
        while not condition():
            self._changed.clear()
            await self._changed.wait()
