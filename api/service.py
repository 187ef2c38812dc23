"""One worker of the service: the model in shared memory, the log, and what both are asked for.

Reads never wait for learning, and never for the log: decisions are answered from memory while the log is
away.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import redis
import structlog

from api.door import Door
from api.events import RecentEvents
from api.historian import Historian
from api.idempotency import Answer, Replays
from api.identifiers import clock_ms
from api.metrics import Metrics
from api.problems import Problem
from api.scopes import Scope
from api.settings import ServiceSettings
from online import records
from online.archive import open_log
from online.kernels import ready_to_decide
from online.live import LearnerNotReady, LiveModel
from online.log import LogError, LogReader, LogUnavailable, LogWriter
from online.pricing.live import QuoteEntry
from online.publication import sign_of_life_ms

if TYPE_CHECKING:
    from api.spans import Spans

T = TypeVar("T")

_ATTACH_EVERY_S = 0.1
MIN_POSITION_WAIT_S = 0.25
_OWN_WAIT_S = 0.05
_SILENT_MS = 3_000
_RECENT_DECISIONS_MAX = 20_000

log = structlog.get_logger("perennial.service")


class Call:
    """One request, read: its body and the headers that change what is done with it."""

    __slots__ = ("body", "client", "idempotency_key", "may", "min_position", "request_id")

    def __init__(
        self,
        *,
        body: bytes,
        request_id: str,
        idempotency_key: str | None = None,
        min_position: str | None = None,
        client: str = "",
        may: Callable[[Scope], bool] = lambda scope: False,
    ) -> None:
        self.body = body
        self.may = may  # whether who asks has a scope, where the address alone does not say which one is needed
        self.client = client  # the name of the key that asks
        self.request_id = request_id
        self.idempotency_key = idempotency_key
        self.min_position = min_position

    @property
    def own_key(self) -> str:
        """The Idempotency-Key, apart from the same key of another client."""
        key = self.idempotency_key or ""
        return f"{self.client}\n{key}" if self.client else key


class Service:
    """What the routes stand on. Create it anywhere; start and stop it in the event loop that uses it."""

    def __init__(self, settings: ServiceSettings, spans: "Spans | None" = None) -> None:
        self.settings = settings
        self.metrics = Metrics(settings.metrics_folder)
        self.door = Door(settings.home, secret=settings.secret, required=settings.keys_required)
        self.writer = LogWriter(settings.log_url) if spans is None else spans.writer(settings.log_url)
        self._attach = LiveModel.attach if spans is None else spans.model().attach
        self._reader: LogReader | None = None  # made when it is first needed: the log may be away now
        self.replays = Replays()
        self.recent_events = RecentEvents()
        self.recent_decisions: OrderedDict[str, int] = OrderedDict()
        self._recent_flights: OrderedDict[str, int] = OrderedDict()
        self.recent_quotes: OrderedDict[str, QuoteEntry] = OrderedDict()
        self.historian = Historian(settings.home, settings.log_url)
        self._reading = asyncio.Lock()
        self._model: LiveModel | None = None
        self._digest: tuple[int, str] | None = None
        self._attaching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect to the log and look for the learner; neither has to be there yet.

        Where a learner has published, the worker is ready when this returns: one that takes the place of another
        must not take connections that its neighbour could answer.
        """
        await self.writer.start()
        with contextlib.suppress(LearnerNotReady):
            await self._adopt(await asyncio.to_thread(self._attach, self.settings.home))
        self._attaching = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """What was acknowledged is on the disk already: only what is under way is waited for."""
        if self._attaching is not None:
            self._attaching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._attaching
        await self.historian.close()
        await self.writer.close()
        if self._reader is not None:
            self._reader.close()

    async def _adopt(self, model: LiveModel) -> None:
        await asyncio.to_thread(_warm, model)
        self._model = model
        if self.settings.ready_file is not None:
            self.settings.ready_file.touch()
        log.info("attached", position=model.position, artifact=model.artifact_id)

    async def _follow(self) -> None:
        """The learner's shared memory, and its successors': a learner that stopped takes its own away."""
        if self._model is None:
            await asyncio.to_thread(ready_to_decide)
        while True:
            model = self._model
            if model is not None:
                while clock_ms() - model.heartbeat_ms < _SILENT_MS:
                    await asyncio.sleep(1.0)
                await self._wait_for_successor(model)
            try:
                await self._adopt(await asyncio.to_thread(self._attach, self.settings.home))
            except LearnerNotReady:
                await asyncio.sleep(_ATTACH_EVERY_S)

    async def _wait_for_successor(self, silent: LiveModel) -> None:
        """Until the learner gives a sign of life, here or in another shared memory. Meanwhile the old one answers."""
        log.warning("learner silent", position=silent.position)
        while clock_ms() - silent.heartbeat_ms >= _SILENT_MS:
            await asyncio.sleep(_ATTACH_EVERY_S)
            if clock_ms() - sign_of_life_ms(self.settings.home) < _SILENT_MS:
                return

    @property
    def model_if_ready(self) -> LiveModel | None:
        return self._model

    @property
    def model(self) -> LiveModel:
        """Raises Problem until the learner has published once."""
        if self._model is None:
            raise Problem("learner_not_ready", retry_after_s=1)
        return self._model

    async def digest(self, timeout_s: float) -> tuple[int, str] | None:
        """(position, digest) of the learner's state. The learner pauses for it, so it is asked once per position."""
        model = self.model
        if self._digest is None or self._digest[0] != model.position:
            self._digest = await model.digest(timeout_s)
        return self._digest

    @property
    def home(self) -> Path:
        return self.settings.home

    async def append(self, entries: list[records.Record]) -> int:
        """The position of the last one, once all are durable. Raises Problem where the log cannot take them."""
        if self._model is None:
            # The learner writes the log's first record: nothing may come before it.
            raise Problem("learner_not_ready", retry_after_s=1)
        try:
            return await self.writer.append([records.encode(entry) for entry in entries])
        except LogUnavailable as error:
            raise Problem("log_unavailable", retry_after_s=max(1, round(error.retry_after_s))) from error
        except LogError as error:
            # An operator has to look; until then it is as unavailable to the client as a server that is away.
            log.error("log refused", reason=str(error))
            raise Problem("log_unavailable", retry_after_s=30) from error

    async def entry(self, position: int) -> bytes | None:
        """The record at a position. Raises Problem where the log cannot be read."""
        return await self.read(lambda reader: reader.entry(position))

    async def read(self, reading: Callable[[LogReader], T]) -> T:
        """What `reading` gets out of the log's reader, off the event loop, one at a time. Raises Problem."""
        async with self._reading:
            try:
                return await asyncio.to_thread(self._read, reading)
            except (LogError, redis.exceptions.RedisError, OSError) as error:
                raise Problem("log_unavailable", "The log cannot be read now.", retry_after_s=1) from error

    def _read(self, reading: Callable[[LogReader], T]) -> T:
        if self._reader is None:
            self._reader = open_log(self.settings.log_url, self.settings.home)
        return reading(self._reader)

    def remember_decision(self, decision_id: str, position: int) -> None:
        """So that a repeated request finds its first answer before the fold has reached it."""
        self.recent_decisions[decision_id] = position
        if len(self.recent_decisions) > _RECENT_DECISIONS_MAX:
            self.recent_decisions.popitem(last=False)

    def remember_quote(self, quote_id: str, entry: QuoteEntry) -> None:
        """So that an outcome finds its quote before the fold has reached it."""
        self.recent_quotes[quote_id] = entry
        if len(self.recent_quotes) > _RECENT_DECISIONS_MAX:
            self.recent_quotes.popitem(last=False)

    def remember_flight(self, flight_id: str, position: int) -> None:
        """What this worker has appended about a flight: its next quote of that flight waits until it is learned."""
        self._recent_flights[flight_id] = position
        self._recent_flights.move_to_end(flight_id)
        if len(self._recent_flights) > _RECENT_DECISIONS_MAX:
            self._recent_flights.popitem(last=False)

    async def seen_own(self, flight_id: str) -> None:
        """Wait, a moment at most, until this worker's own word about a flight is learned."""
        position = self._recent_flights.get(flight_id, 0)
        if self.model.position < position:
            await self.model.wait_for(position, _OWN_WAIT_S)

    async def learned(self, min_position: str) -> None:
        """Wait until this worker has learned up to a position: X-Min-Position. Raises Problem."""
        position = _position(min_position)
        if self.model.position < position and not await self.model.wait_for(position, MIN_POSITION_WAIT_S):
            raise Problem("learner_behind", retry_after_s=1)

    async def caught_up(self, timeout_s: float = MIN_POSITION_WAIT_S) -> bool:
        """Wait until this worker has learned all that the log holds now; whether it was in time."""
        head = await self.read(lambda reader: reader.head())
        return await self.model.wait_for(head, timeout_s)

    async def once(self, address: str, call: Call, answer: "Answering") -> Answer:
        """`answer(call)`, or what it answered to the same Idempotency-Key before."""
        if call.min_position is not None:
            _position(call.min_position)  # what is no position is none in a repetition either
        if call.idempotency_key is None:
            return await answer(self, call)
        # Each client has idempotency keys of its own: nobody is answered with what another asked.
        address = f"{address}\n{call.client}"
        return await self.replays.once(address, call.idempotency_key, call.body, lambda: answer(self, call))


def _position(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Problem("header_invalid", "X-Min-Position is a log position: a whole number.")
    return int(text)


def snapshot_age_s(home: Path) -> float | None:
    """Seconds since a manifest was last put into its place; None where there is none yet."""
    try:
        return max(0.0, time.time() - (home / "snapshots").stat().st_mtime)
    except FileNotFoundError:
        return None


def _warm(model: LiveModel) -> None:
    """Decide once, for nobody: the kernels are compiled or loaded now and not inside the first request."""
    now_ms = clock_ms()
    model.recommend(decision_id="warm", user_id="warm", n=1, at_ms=now_ms, received_ms=now_ms)
    model.knows_event("warm")
    model.pricing.warm()
    model.decision_position("warm")


Answering = Callable[[Service, Call], Awaitable[Answer]]
