"""Forget a user: after the act in the log, the records themselves leave, wherever they are.

The act has changed the state already (`online.lineage`). Here the user's records leave the log, of whichever lineage
they were, and the server's files with them; snapshots that were folded from any of them are removed; a receipt says so,
with digests. What is done is found by looking, so a broken-off erasure is finished by doing it again.
"""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import redis
from blake3 import blake3

from online.durable import write_durably
from online.history import History
from online.lineage import Arguments, Lineage, Sieve
from online.log.rewrite import replace_records
from online.records import Act, Erased, encode
from online.retention import remove
from online.snapshot import Snapshot, newest_first, writing


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What left. Digests, not contents: of the records together, and of the state before and after."""

    act_position: int
    act_id: str
    user_key: str
    reason: str
    author: str
    erased_records: int
    records_digest: str  # BLAKE3 of the erased records, in order; "" where an earlier receipt has it
    first_position: int
    state_digest_after: str
    snapshots_removed: list[str]
    finished_ms: int


def finish_erasure(
    history: History,
    client: redis.Redis,
    position: int,
    *,
    home: Path,
    progress: Callable[[int], None] | None = None,
) -> Receipt:
    """Take the records of an `erase` that stands at a position out of log, files and snapshots; its receipt."""
    act = next(act for at, act in history.lineages.acts if at == position)
    assert act.act == "erase" and position not in history.lineages.void
    told = msgspec.json.decode(act.arguments, type=Arguments)
    gone = _records_of(history, told, position)
    if gone:
        replace_records(client, {at: encode(Erased(ms)) for at, (ms, _) in gone.items()}, progress=progress)
    removed = _remove_snapshots(home / "snapshots", told, position)
    digest = blake3()
    for _, payload in gone.values():
        digest.update(payload)
    path = home / "receipts" / f"erase-{position}.json"
    earlier = msgspec.json.decode(path.read_bytes(), type=Receipt) if path.exists() else None
    if earlier is not None and not gone:
        return earlier
    receipt = Receipt(
        act_position=position,
        act_id=act.act_id,
        user_key=told.without.users[0],
        reason=act.reason,
        author=act.client,
        erased_records=len(gone),
        records_digest=digest.hexdigest()[:32] if gone else "",
        first_position=min(gone, default=0),
        state_digest_after=history.state_at(position).state.digest(),
        snapshots_removed=removed,
        finished_ms=time.time_ns() // 1_000_000,
    )
    write_durably(path, msgspec.json.encode(receipt, order="sorted"))
    return receipt


def _records_of(history: History, told: Arguments, position: int) -> dict[int, tuple[int, bytes]]:
    """The records that are to leave, by position: when received, and their bytes."""
    sieve = Sieve((told.without,))
    found = {}
    for records, _ in history.records(Lineage("").grown(1, position - 1).segments):
        for at, record in records:
            if not isinstance(record, Act) and sieve.removes(at, record):
                found[at] = (record.received_ms, encode(record))
    return found


def _remove_snapshots(folder: Path, told: Arguments, position: int) -> list[str]:
    """Remove those that were folded from records of the user: from a stretch that reaches behind the first of them, was
    there before the act, and is not cut as the act cuts."""
    assert told.to is not None
    with writing(folder):
        found = [s for s in newest_first(folder) if isinstance(s, Snapshot)]
        tainted = [
            snapshot
            for snapshot in found
            if any(
                segment.last > told.to and segment.first < position and told.without not in segment.without
                for segment in snapshot.lineage.segments
            )
        ]
        names = {snapshot.id for snapshot in tainted}
        while rest := [s for s in found if s.base in names and s.id not in names]:
            tainted += rest  # built on one of them: its bytes are its base's
            names |= {snapshot.id for snapshot in rest}
        remove(folder, tainted)
        for path in folder.glob("*.json"):
            if path.stem not in {s.id for s in found}:
                path.unlink()  # not to be read: what it holds cannot be known
    return sorted(names)
