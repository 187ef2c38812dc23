"""Forget a user: after the act in the log, the records themselves leave, wherever they are.

The act has changed the state already (`online.lineage`). Here the user's records leave the log, of whichever lineage
they were, and the server's files with them; snapshots that were folded from any of them are removed; a receipt says so,
with digests. What is left to do is found by looking, in the stream and in the archive, since many records are in both;
the receipt is begun before anything leaves. So a broken-off erasure is finished by doing it again.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import redis
from blake3 import blake3

from online.archive import Archive
from online.durable import write_durably
from online.failpoint import failpoint
from online.history import History
from online.lineage import Arguments, Lineage, Sieve
from online.log.rewrite import replace_records, write_files_anew
from online.records import Act, Erased, Record, decode, encode
from online.retention import remove
from online.snapshot import Snapshot, newest_first, note_erasure, writing


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What left. Digests, not contents: of the records together, and of the state after them. Begun before anything
    leaves: until it is finished, `finished_ms` is 0 and what comes last is not known."""

    act_position: int
    act_id: str
    user_key: str
    reason: str
    author: str
    erased_records: int
    records_digest: str  # BLAKE3 of the erased records, in order; "" where there were none
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
    archive = Archive(home / "archive")
    path = home / "receipts" / f"erase-{position}.json"
    receipt = msgspec.json.decode(path.read_bytes(), type=Receipt) if path.exists() else None
    gone = _records_of(history, archive, told, position)
    if receipt is None or (receipt.finished_ms and gone):
        receipt = _begun(act, told, position, gone)
        write_durably(path, msgspec.json.encode(receipt, order="sorted"))
    failpoint("erasure.begun")
    if gone:
        replaced = {at: encode(Erased(ms)) for at, (ms, _) in gone.items()}
        replace_records(client, replaced, progress=progress)
        failpoint("erasure.replaced")
        archive.replace(replaced)
        failpoint("erasure.archived")
    elif not receipt.finished_ms:
        write_files_anew(client)  # whoever began it may have died before that
    removed = _remove_snapshots(home / "snapshots", told, position)
    failpoint("erasure.removed")
    if not receipt.finished_ms:
        receipt = msgspec.structs.replace(
            receipt,
            state_digest_after=history.state_at(position).state.digest(),
            snapshots_removed=removed,
            finished_ms=time.time_ns() // 1_000_000,
        )
        write_durably(path, msgspec.json.encode(receipt, order="sorted"))
    return receipt


def _begun(act: Act, told: Arguments, position: int, gone: dict[int, tuple[int, bytes]]) -> Receipt:
    digest = blake3()
    for _, (_, payload) in sorted(gone.items()):
        digest.update(payload)
    return Receipt(
        act_position=position,
        act_id=act.act_id,
        user_key=told.without.users[0],
        reason=act.reason,
        author=act.client,
        erased_records=len(gone),
        records_digest=digest.hexdigest()[:32] if gone else "",
        first_position=min(gone, default=0),
        state_digest_after="",
        snapshots_removed=[],
        finished_ms=0,
    )


def _records_of(history: History, archive: Archive, told: Arguments, position: int) -> dict[int, tuple[int, bytes]]:
    """The records that are to leave, by position: when received, and their bytes. Of what is archived and in the stream
    as well, `history` reads the stream's."""
    sieve = Sieve((told.without,))
    found: dict[int, tuple[int, bytes]] = {}

    def look(records: Iterable[tuple[int, Record]]) -> None:
        for at, record in records:
            if not isinstance(record, Act) and sieve.removes(at, record):
                found[at] = (record.received_ms, encode(record))

    for records, _ in history.records(Lineage("").grown(1, position - 1).segments):
        look(records)
    after = 0
    while after < position - 1 and (entries := archive.read(after, position - 1 - after)):
        look((at, decode(payload)) for at, payload in entries)
        after = entries[-1][0]
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
        unreadable = {path.stem for path in folder.glob("*.json")} - {snapshot.id for snapshot in found}
        for name in unreadable:
            (folder / f"{name}.json").unlink()  # what it holds cannot be known, and it would keep every blob
        while rest := [s for s in found if s.base in names and s.id not in names]:
            tainted += rest  # built on one of them: its bytes are its base's
            names |= {snapshot.id for snapshot in rest}
        remove(folder, tainted)
        note_erasure(folder, position)
    return sorted(names)
