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


def leaves(table: Packing) -> Leaves:
    """All blocks of a table."""
    digests: list[bytes] = []
    room = table.room(min(table.blocks, TOGETHER))
    for first in range(0, table.blocks, TOGETHER):
        digests += _digests(table.between(first, min(table.blocks, first + TOGETHER), room))
    return Leaves(table.columns, table.rows, b"".join(digests))


def renewed(known: Leaves, table: Packing, rows: Array | None) -> tuple[Leaves, Array]:
    """The leaves of a table of which only these rows (ascending) may differ from the ones known, those that are new
    among them, or any at all (None); and which of the rows stand in a block that does.

    The table has no fewer rows than the known one, and the same columns.
    """
    if rows is None:
        rows = np.arange(table.rows)
    of_rows = rows // table.per
    blocks = of_rows[np.flatnonzero(np.diff(of_rows, prepend=-1))] if table.width else of_rows[:0]
    room = table.room(min(len(blocks), TOGETHER))
    digests = np.zeros((table.blocks, DIGEST), np.uint8)
    before = np.frombuffer(known.digests, np.uint8).reshape(-1, DIGEST)
    digests[: len(before)] = before
    changed = np.zeros(table.blocks, np.bool_)
    for first in range(0, len(blocks), TOGETHER):
        some = blocks[first : first + TOGETHER]
        found = np.frombuffer(b"".join(_digests(table.of(some, room))), np.uint8).reshape(-1, DIGEST)
        changed[some] = (digests[some] != found).any(axis=1)
        digests[some] = found
    written = rows[changed[of_rows]] if table.blocks else rows[:0]
    return Leaves(table.columns, table.rows, digests.tobytes()), written


def _digests(blocks: Array) -> list[bytes]:
    """Of each block in a room."""
    view, step = blocks.reshape(-1).data, blocks.shape[1]
    hasher = blake3()  # one for all: to make another each time adds a sixth
    begin, update, digest = hasher.reset, hasher.update, hasher.digest
    digests = []
    for at in range(0, blocks.nbytes, step):
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
