"""Chance as a function: the same key gives the same draw, everywhere and for ever (law 2).

`hash64` turns ids into the 64-bit keys that the fold works with. Two ids of one million share a key with a
probability of 3e-8; they would then be one user or one item.

`philox` is Philox4x32-10, a counter-based generator: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
as 1, 2, 3", SC 2011. Integer arithmetic alone, so it is exact on any machine.
"""

from functools import lru_cache
from hashlib import blake2b

import numpy as np

from online.compiling import kernel

_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@lru_cache(maxsize=1 << 16)  # the ids of the hour come again and again
def hash64(text: str) -> int:
    """The fold's key of an id: BLAKE2b with 8 bytes, never 0 (0 marks an empty slot).

    >>> hash64("user-1")
    9863422088627006618
    """
    return int.from_bytes(blake2b(text.encode("utf-8"), digest_size=8).digest(), "little") or 1


@kernel
def philox(key: np.uint64, counter: np.uint64, block: np.uint64) -> tuple[np.uint64, np.uint64]:
    """128 random bits as two words, for key (the seed), counter (the decision) and block (the draw's number)."""
    c0 = counter & _LOW
    c1 = counter >> _HALF
    c2 = block & _LOW
    c3 = block >> _HALF
    k0 = key & _LOW
    k1 = key >> _HALF
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0 | (c1 << _HALF), c2 | (c3 << _HALF)


@kernel
def uniform(key: np.uint64, counter: np.uint64, draw: int) -> float:
    """The draw-th number in [0, 1) of this counter, with 53 bits."""
    word, _ = philox(key, counter, np.uint64(draw))
    return float(word >> np.uint64(11)) * (1.0 / 9007199254740992.0)
