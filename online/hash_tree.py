"""A digest over arrays that need not be taken again as a whole: BLAKE3 of blocks of rows, and BLAKE3 over those.

A row is that of a table, all of its columns side by side (`online.packing`): who changes a row changes one block, and
not one for each column. Which rows make a block follows from the columns alone, so the digest is canonical: taken at
once or kept up to date block by block, it is the same. A tree that was written down is checked by its own root, which
manifests know.
"""

from typing import NamedTuple

import msgspec
import numpy as np
from blake3 import blake3

from online.packing import Columns, Packing, packings
from online.tables import Array, Arrays

BLOCK = 1 << 13  # bytes: half the size hashes fewer of them, and more slowly
DIGEST = 32
TOGETHER = 128  # blocks that are packed at once: they stay in the processor's cache until they are hashed


class Leaves(NamedTuple):
    """The blocks of one table."""

    columns: Columns
    rows: int
    digests: bytes  # DIGEST of each block, in order


Tree = dict[str, Leaves]


class TreeUnreadable(ValueError):
    """Bytes that are no tree, or not the tree of this digest."""


def rows_per_block(row_bytes: int) -> int:
    """Rows of so many bytes that make a block, one at least.

    >>> rows_per_block(8), rows_per_block(1_000), rows_per_block(100_000)
    (1024, 8, 1)
    """
    return max(1, BLOCK // max(1, row_bytes))


def leaves(table: Packing) -> Leaves:
    """All blocks of a table."""
    per = rows_per_block(table.width)
    digests: list[bytes] = []
    room = np.empty((min(table.rows, TOGETHER * per), table.width), np.uint8)
    for first in range(0, table.rows if table.width else 0, TOGETHER * per):
        digests += _digests(table.between(first, min(table.rows, first + TOGETHER * per), room), per)
    return Leaves(table.columns, table.rows, b"".join(digests))


def renewed(known: Leaves, table: Packing, rows: Array | None) -> tuple[Leaves, Array, Array]:
    """The leaves of a table of which only these rows (ascending) may differ from the ones known, those that are new
    among them, or any at all (None); and which of the rows stand in a block that does, with what they hold, packed.

    The table has no fewer rows than the known one, and the same columns.
    """
    per = rows_per_block(table.width)
    if rows is None:
        found = leaves(table)
        blocks = _differing(known.digests, found.digests)
        written = _rows_in(blocks, per, table.rows)
        return found, written, table.of(written, np.empty((len(written), table.width), np.uint8))
    of_rows = rows // per
    blocks = of_rows[np.flatnonzero(np.diff(of_rows, prepend=-1))]
    room = np.empty((min(len(blocks), TOGETHER) * per, table.width), np.uint8)
    digests = bytearray(known.digests)
    digests += bytes(DIGEST * (-(-table.rows // per) if table.width else 0) - len(digests))
    looked_at, values = [rows[:0]], [room[:0]]
    for first in range(0, len(blocks) if table.width else 0, TOGETHER):
        some = blocks[first : first + TOGETHER]
        packed = table.of(_rows_in(some, per, table.rows), room)
        changed = np.zeros(len(some), np.bool_)
        for k, (block, digest) in enumerate(zip(some.tolist(), _digests(packed, per), strict=True)):
            at = block * DIGEST
            if digests[at : at + DIGEST] != digest:
                digests[at : at + DIGEST] = digest
                changed[k] = True
        own = slice(*np.searchsorted(of_rows, (some[0], some[-1] + 1)))
        place = np.searchsorted(some, of_rows[own])
        kept = changed[place]
        looked_at.append(rows[own][kept])
        values.append(packed[(place * per + rows[own] % per)[kept]])
    return Leaves(table.columns, table.rows, bytes(digests)), np.concatenate(looked_at), np.concatenate(values)


def _differing(known: bytes, found: bytes) -> Array:
    """Numbers of the blocks that are not the known ones; there are no fewer than those."""
    before, now = (np.frombuffer(digests, np.uint64).reshape(-1, DIGEST // 8) for digests in (known, found))
    changed = np.flatnonzero((before != now[: len(before)]).any(axis=1))
    return np.concatenate([changed, np.arange(len(before), len(now))])


def _rows_in(blocks: Array, per: int, count: int) -> Array:
    """Rows of these blocks (ascending), as far as there are any."""
    rows: Array = (blocks[:, None] * per + np.arange(per)).ravel()
    return rows[: np.searchsorted(rows, count)]


def _digests(packed: Array, per: int) -> list[bytes]:
    """Of blocks of so many packed rows; the last one may have fewer."""
    view, step = packed.reshape(-1).data, per * packed.shape[1]
    hasher = blake3()  # one for all: to make another each time adds a sixth
    begin, update, digest = hasher.reset, hasher.update, hasher.digest
    digests = []
    for at in range(0, packed.nbytes, step):
        begin()
        update(view[at : at + step])
        digests.append(digest())
    return digests


def tree_of(arrays: Arrays) -> Tree:
    """The leaves of every table, by name."""
    return {name: leaves(table) for name, table in packings(arrays).items()}


def root(identity: str, tree: Tree) -> str:
    """The digest: BLAKE3 over name, columns, rows and blocks of every table, and whose they are; 32 hex digits."""
    hasher = blake3(identity.encode())
    for name, found in sorted(tree.items()):
        hasher.update(f"|{name}|{found.columns}|{found.rows}|".encode())
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
