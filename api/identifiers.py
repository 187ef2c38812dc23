"""Decision and event ids: ordered by time, and not to be guessed (RFC 9562, version 7).

An id holds its millisecond, so a decision older than the fold's tables is still found in the log by a
search over time. An id made from an Idempotency-Key holds none (version 8): it must be the same whenever
the request is repeated.
"""

import hashlib
import os
import time

_DRAWN_AT_A_TIME = 256
_VARIANT = "89ab"  # two bits of chance behind the two that say which kind of id it is
_tails: list[str] = []


def make_id(at_ms: int) -> str:
    """A new UUIDv7: 48 bits of Unix milliseconds, 74 random bits from the operating system.

    >>> made_at_ms(make_id(1_700_000_000_000))
    1700000000000
    """
    stamp = f"{at_ms & 0xFFFFFFFFFFFF:012x}"
    return f"{stamp[:8]}-{stamp[8:]}-{_tail()}"


def id_from_key(secret: bytes, key: str, *, purpose: str) -> str:
    """The UUIDv8 of an Idempotency-Key: the same for the same key, and unknown without the service's secret.

    >>> id_from_key(b"s", "k", purpose="a") == id_from_key(b"s", "k", purpose="a")
    True
    >>> made_at_ms(id_from_key(b"s", "k", purpose="a")) is None
    True
    """
    digest = hashlib.blake2b(f"{purpose}\n{key}".encode("utf-8", "surrogatepass"), key=secret, digest_size=16).digest()
    value = int.from_bytes(digest, "big")
    value &= ~((0xF << 76) | (0x3 << 62))
    return _dashed(value | (0x8 << 76) | (0x2 << 62))


def made_at_ms(identifier: str) -> int | None:
    """The millisecond inside a UUIDv7, None for any other id."""
    if len(identifier) != 36 or identifier[14] != "7" or identifier[8] != "-" or identifier[13] != "-":
        return None
    try:
        return int(identifier[:8] + identifier[9:13], 16)
    except ValueError:
        return None


def clock_ms() -> int:
    """The service's clock: Unix milliseconds, read once per request and recorded in the log."""
    return time.time_ns() // 1_000_000


def _tail() -> str:
    """All of an id but its time. The operating system is asked for many at a time; none is given twice: a list's pop
    is atomic."""
    try:
        return _tails.pop()
    except IndexError:
        drawn = os.urandom(10 * _DRAWN_AT_A_TIME)
        tails = [_tail_of(drawn[at : at + 10]) for at in range(0, len(drawn), 10)]
        _tails.extend(tails[1:])
        return tails[0]


def _tail_of(chance: bytes) -> str:
    """74 of 80 random bits, with version and variant.

    >>> _tail_of(bytes(range(10)))
    '7001-8203-040506070809'
    """
    text = chance.hex()
    return f"7{text[1:4]}-{_VARIANT[chance[2] >> 4 & 3]}{text[5:8]}-{text[8:]}"


def _dashed(value: int) -> str:
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
