"""How often a key may ask: counted by all workers together, in a file that each of them maps.

A limit is a number of requests in a span of time, `200/second` or `1000000/day` (the grammar is that of the library
`limits`). It slides: what was asked in the window before counts in proportion to how much of it is still inside the
span. The counts stand beside the log and never in it: they are no part of what is learned, and are worth no fsync.
They outlive a restart, so a day's quota does too; with the file removed they begin anew.
"""

import fcntl
import hashlib
import math
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from limits import RateLimitItem, parse

from api.problems import Problem

_SLOT = struct.Struct("<Qqqq")  # which limit of which key, window, count in it, count in the one before
_SLOTS, _PROBES = 4_096, 32
_LOCK_TRIES, _LOCK_PAUSE_S = 100, 0.000_05
Headers = tuple[tuple[bytes, bytes], ...]


class QuotaInvalid(ValueError):
    """A text that is no limit; the message says what one looks like."""


def read_quota(text: str) -> RateLimitItem:
    """A limit from its text. Raises QuotaInvalid.

    >>> read_quota("200/second").amount, read_quota("30 per 5 minute").get_expiry()
    (200, 300)
    """
    try:
        item = parse(text)
    except (ValueError, KeyError):
        item = None
    if item is None or item.amount < 1 or item.get_expiry() < 1 or len(text) > 64:
        raise QuotaInvalid(
            f"a limit is a number of requests in a span, such as 200/second or 1000000/day, not {text!r}"
        )
    return item


class LockBusy(Exception):
    """Another worker holds the counts, for longer than a request may wait."""


class Window(NamedTuple):
    """How far one limit is used up: the count in the window before, and in this one, which ends in `left_s` seconds."""

    before: int
    asked: int
    left_s: float
    expiry: int

    @property
    def used(self) -> float:
        """Requests within the span that ends now."""
        return self.before * self.left_s / self.expiry + self.asked

    def wait_s(self, amount: int) -> float:
        """Until one more fits: enough of the window before has slid out, or this one is the window before."""
        if self.asked < amount and self.before:
            return max(0.0, self.left_s - (amount - self.asked) * self.expiry / self.before)
        return self.left_s


class Windows:
    """The counts, by limit and key, in a file that all workers map."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, _SLOTS * _SLOT.size)
        self._slots = mmap.mmap(self._file, _SLOTS * _SLOT.size)

    def close(self) -> None:
        """Let go of the file; its counts stay."""
        self._slots.close()
        os.close(self._file)

    def take(self, item: RateLimitItem, key_id: str) -> tuple[bool, Window]:
        """Count one request where it still fits; whether it did, and how far the limit is used up. Raises LockBusy."""
        with self.locked():
            place, window = self._window(item.key_for(key_id), item.get_expiry())
            if math.floor(window.used) + 1 > item.amount:
                return False, window
            window = window._replace(asked=window.asked + 1)
            digest, number, _, _ = _SLOT.unpack_from(self._slots, place)
            _SLOT.pack_into(self._slots, place, digest, number, window.asked, window.before)
            return True, window

    def _window(self, key: str, expiry: int) -> tuple[int, Window]:
        """Where the limit stands in the file, and its window, brought up to now."""
        now = self._clock()
        number, place = int(now // expiry), self._place(key)
        digest, known, count, before = _SLOT.unpack_from(self._slots, place)
        if (
            number != known and number + 1 != known
        ):  # a clock that was set back a little stays in the window that it had
            before, count = (count, 0) if number == known + 1 else (0, 0)
            _SLOT.pack_into(self._slots, place, digest, number, count, before)
        return place, Window(before, count, expiry - now % expiry, expiry)

    def _place(self, key: str) -> int:
        digest = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") or 1
        for probe in range(_PROBES):
            place = (digest + probe) % _SLOTS * _SLOT.size
            (found,) = struct.unpack_from("<Q", self._slots, place)
            if found == digest:
                return place
            if found == 0:
                break
        else:
            place = digest % _SLOTS * _SLOT.size  # so many limits that one has to begin anew
        _SLOT.pack_into(self._slots, place, digest, 0, 0, 0)
        return place

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else counts meanwhile. Raises LockBusy."""
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE_S)
        else:
            raise LockBusy
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


class Quotas:
    """The limits of all keys that have one, as one worker counts them."""

    def __init__(
        self, path: Path, limits: Mapping[str, tuple[str, ...]], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._windows = Windows(path, clock=clock)
        self._items = {key_id: tuple(read_quota(text) for text in texts) for key_id, texts in limits.items()}
        self._texts = dict(limits)

    def close(self) -> None:
        """Let go of the file."""
        self._windows.close()

    def count(self, key_id: str) -> Headers:
        """One request more; what its answer says of the limit that is nearest. Raises Problem (rate_limited).

        A request over one limit is counted by none of those that stand behind it.
        """
        nearest: tuple[float, Headers] | None = None
        for item, text in zip(self._items.get(key_id, ()), self._texts.get(key_id, ()), strict=True):
            try:
                allowed, window = self._windows.take(item, key_id)
            except LockBusy:
                continue  # a worker that stands still in the middle of a count must not stop the others
            if not allowed:
                wait_s = window.wait_s(item.amount)
                detail = f"This key may ask {text}."
                headers = _headers(item, text, 0, wait_s)
                raise Problem("rate_limited", detail, retry_after_s=math.ceil(wait_s), more=headers)
            left = max(0, item.amount - math.floor(window.used))
            if nearest is None or left / item.amount < nearest[0]:
                nearest = left / item.amount, _headers(item, text, left, window.left_s)
        return nearest[1] if nearest is not None else ()


def _headers(item: RateLimitItem, text: str, remaining: int, reset_s: float) -> Headers:
    """As draft-ietf-httpapi-ratelimit-headers names them: q and w are the limit, r what is left of it, t until when."""
    name = "".join(one if one.isalnum() or one in "/ " else "-" for one in text)
    return (
        (b"ratelimit-policy", f'"{name}";q={item.amount};w={item.get_expiry()}'.encode("ascii", "replace")),
        (b"ratelimit", f'"{name}";r={remaining};t={max(1, math.ceil(reset_s))}'.encode("ascii", "replace")),
    )
