"""The same request again gives the same answer again: `Idempotency-Key`, per worker and bounded.

This is the convenience half. What must hold across workers, restarts and years holds by the ids inside the
log: a decision is one per decision_id, an event is one per event_id, and both are made from the key where a
request has the key and not the id. What this memory adds is the first answer's very bytes, and the refusal
of a reused key.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec

from api.problems import Problem

KEY_LENGTH_MAX = 255
_ENTRIES_MAX = 10_000
_BYTES_MAX = 64 * 1024 * 1024


class Answer(msgspec.Struct, frozen=True):
    """A finished answer: status, body, and headers beyond the usual ones."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Replays:
    """The last answers by (address, key)."""

    def __init__(self, *, entries_max: int = _ENTRIES_MAX, bytes_max: int = _BYTES_MAX) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._answers: OrderedDict[tuple[str, str], tuple[bytes, Answer]] = OrderedDict()
        self._running: dict[tuple[str, str], tuple[bytes, asyncio.Future[Answer]]] = {}

    async def once(self, address: str, key: str, body: bytes, run: Callable[[], Awaitable[Answer]]) -> Answer:
        """The first answer to this key, or `run`'s. Raises Problem where the key came with another body."""
        if not 0 < len(key) <= KEY_LENGTH_MAX:
            raise Problem("header_invalid", f"Idempotency-Key has 1 to {KEY_LENGTH_MAX} characters.")
        name = (address, key)
        fingerprint = hashlib.blake2b(body, digest_size=16).digest()
        kept = self._answers.get(name)
        if kept is not None:
            self._answers.move_to_end(name)
            return _replayed(fingerprint, *kept)
        running = self._running.get(name)
        if running is not None:
            # Shielded: a caller that goes away must not take the answer from the one that is being served.
            return _replayed(fingerprint, running[0], await asyncio.shield(running[1]))
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._running[name] = (fingerprint, future)
        try:
            answer = await run()
        except BaseException as error:
            future.set_exception(error if isinstance(error, Exception) else Problem("internal"))
            future.exception()  # Retrieved: nobody else may be waiting, and that is no defect.
            raise
        else:
            future.set_result(answer)
        finally:
            del self._running[name]
        # Only what was accepted is kept: a refusal may be answered differently once its cause is gone.
        if answer.status < 300:
            self._keep(name, fingerprint, answer)
        return answer

    def _keep(self, name: tuple[str, str], fingerprint: bytes, answer: Answer) -> None:
        self._answers[name] = (fingerprint, answer)
        self._bytes += len(answer.body)
        while len(self._answers) > self._entries_max or self._bytes > self._bytes_max:
            _, (_, oldest) = self._answers.popitem(last=False)
            self._bytes -= len(oldest.body)


def _replayed(fingerprint: bytes, first_fingerprint: bytes, answer: Answer) -> Answer:
    if fingerprint != first_fingerprint:
        raise Problem("idempotency_key_reused")
    return Answer(answer.status, answer.body, (*answer.headers, (b"idempotent-replayed", b"true")))
