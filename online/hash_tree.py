"""A digest over arrays that need not be taken again as a whole: BLAKE3 of blocks of rows, and BLAKE3 over those.

Which rows make a block follows from the array's shape alone, so the digest is canonical: taken at once or kept up to
date block by block, it is the same. A tree that was written down is checked by its own root, which manifests know.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np
from blake3 import blake3

from online.tables import Array, Arrays

BLOCK = 1 << 13  # bytes: half the size hashes fewer of them, and more slowly
DIGEST = 32
APART = "frame.position"  # no part of the digest: a state that an act brought back has its digest back


class Leaves(NamedTuple):
    """The blocks of one array."""

    dtype: str
    shape: tuple[int, ...]
    digests: bytes  # DIGEST of each block, in order


Tree = dict[str, Leaves]


class TreeUnreadable(ValueError):
    """Bytes that are no tree, or not the tree of this digest."""


def rows_per_block(row_bytes: int) -> int:
    """Rows of so many bytes that make a block: a power of two, one at least.

    >>> rows_per_block(8), rows_per_block(1_000), rows_per_block(100_000)
    (2048, 16, 1)
    """
    return 1 << max(1, BLOCK // max(1, row_bytes)).bit_length() - 1


def block_rows(array: Array) -> int:
    """How many rows of this array a block has."""
    row = array.dtype.itemsize
    for size in array.shape[1:]:
        row *= size
    return rows_per_block(row)


def leaves(array: Array) -> Leaves:
    """All blocks of an array."""
    content = np.ascontiguousarray(array)
    if not content.size:
        return Leaves(array.dtype.str, array.shape, b"")
    row = content.nbytes // content.shape[0]
    step = row * block_rows(content)
    view = content.data.cast("B")
    digests = _digests(view, range(0, content.nbytes, step), step)
    return Leaves(array.dtype.str, array.shape, b"".join(digests))


def renewed(known: Leaves, array: Array, blocks: Array) -> tuple[Leaves, Array]:
    """The leaves of an array of which only these blocks (ascending) may differ from the ones known, but for rows that
    are new; and the numbers of those that do. The array has no fewer rows than the known one, and the same rows."""
    content = np.ascontiguousarray(array)
    if not content.size:
        return Leaves(array.dtype.str, array.shape, b""), np.zeros(0, np.int64)
    per = block_rows(content)
    step = content.nbytes // content.shape[0] * per
    view = content.data.cast("B")
    count = -(-content.shape[0] // per)
    digests = bytearray(known.digests)
    digests += bytes(DIGEST * count - len(digests))
    changed = []
    numbers = blocks.tolist()
    for block, digest in zip(numbers, _digests(view, [block * step for block in numbers], step), strict=True):
        at = block * DIGEST
        if digests[at : at + DIGEST] != digest:
            digests[at : at + DIGEST] = digest
            changed.append(block)
    return Leaves(array.dtype.str, array.shape, bytes(digests)), np.array(changed, np.int64)


def _digests(view: memoryview, starts: Iterable[int], step: int) -> list[bytes]:
    hasher = blake3()  # one for all: to make another each time adds a sixth
    begin, update, digest = hasher.reset, hasher.update, hasher.digest
    digests = []
    for at in starts:
        begin()
        update(view[at : at + step])
        digests.append(digest())
    return digests


def tree_of(arrays: Arrays) -> Tree:
    """The leaves of every array, by name."""
    return {name: leaves(array) for name, array in sorted(arrays.items()) if name != APART}


def root(identity: str, tree: Tree) -> str:
    """The digest: BLAKE3 over name, dtype, shape and blocks of every array, and whose they are; 32 hex digits."""
    hasher = blake3(identity.encode())
    for name, found in sorted(tree.items()):
        hasher.update(f"|{name}|{found.dtype}|{found.shape}|".encode())
        hasher.update(found.digests)
    return hasher.hexdigest()[:32]


def written(tree: Tree) -> bytes:
    """A tree as bytes."""
    return msgspec.msgpack.encode(tree)


def read_tree(content: bytes, identity: str, digest: str) -> Tree:
    """The tree that was written. Raises TreeUnreadable where it is not the one of this digest."""
    try:
        tree = msgspec.msgpack.decode(content, type=dict[str, Leaves])
    except msgspec.MsgspecError as error:
        raise TreeUnreadable(str(error)) from error
    if (actual := root(identity, tree)) != digest:
        raise TreeUnreadable(f"expected {digest}, found {actual}")
    return tree
