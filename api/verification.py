"""The whole log folded a second time, and its digests held against every snapshot and against the running learner."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from api.home import HomeEmpty, log_of
from api.supervisor import read_address
from online.archive import ArchivedLog
from online.history import artifacts_of
from online.refold import refolded
from online.snapshot import SnapshotCorrupt, SnapshotForeign, newest_first

_LIVE_DIGEST_S = 30.0
_TELL_EVERY_S = 2.0


class Compared(msgspec.Struct, frozen=True):
    """One digest that was claimed, and the one that the fold gives."""

    what: str
    position: int
    expected: str
    refolded: str

    @property
    def identical(self) -> bool:
        return self.expected == self.refolded


class Verified(msgspec.Struct, frozen=True):
    """The outcome: identical only if every comparison is."""

    position: int
    digest: str
    seconds: float
    compared: list[Compared]
    archived: int = 0  # positions that were read out of the archive's files, their chain of digests checked
    archive_digest: str = ""

    @property
    def identical(self) -> bool:
        return all(one.identical for one in self.compared)

    def as_json(self) -> dict[str, Any]:
        return {
            "identical": self.identical,
            "position": self.position,
            "digest": self.digest,
            "seconds": round(self.seconds, 3),
            "archived": self.archived,
            "archive_digest": self.archive_digest,
            "compared": [
                {
                    "what": one.what,
                    "position": one.position,
                    "expected": one.expected,
                    "refolded": one.refolded,
                    "identical": one.identical,
                }
                for one in self.compared
            ],
        }


def verify_home(home: Path, redis_url: str | None, *, say: Callable[[str], None]) -> Verified:
    """Fold the log of a home folder again, whether its service runs or not.

    Raises HomeEmpty, LogError, LogForeign, SnapshotCorrupt, Artifact….

    A home that is not being served gets its own log server for as long as this takes (call from the main thread).
    """
    claims: list[tuple[str, int, str]] = []
    for found in newest_first(home / "snapshots"):
        if isinstance(found, SnapshotCorrupt):
            raise found
        if isinstance(found, SnapshotForeign):
            say(f"passed over: {found}")
        elif not found.planned:
            claims.append((f"snapshot {found.id}", found.position, found.state_digest))
    if read_address(home) is not None:
        claims += _live_claim(home)
    with log_of(home, redis_url) as reader:
        return _verify(home, reader, claims, say)


def _verify(
    home: Path, reader: ArchivedLog, claims: list[tuple[str, int, str]], say: Callable[[str], None]
) -> Verified:
    head = reader.head()
    if head == 0:
        raise HomeEmpty(home)
    artifacts = artifacts_of(home)
    began = told = time.monotonic()

    def progress(position: int) -> None:
        nonlocal told
        if time.monotonic() - told > _TELL_EVERY_S:
            told = time.monotonic()
            say(f"folding: {position:,} of {head:,}, {position / (told - began):,.0f} records/s")

    reader.archive.check()
    # A claim beyond the log's end cannot be met; the fold says so.
    positions = sorted({*(position for _, position, _ in claims), head})
    digests = {state.position: state.digest() for state in refolded(reader, artifacts, positions, progress=progress)}
    compared = [
        Compared(what, position, expected, digests[position])
        for what, position, expected in sorted(claims, key=lambda claim: claim[1])
    ]
    archived, digest = reader.archive.last, reader.archive.digest
    return Verified(head, digests[head], time.monotonic() - began, compared, archived, digest)


def _live_claim(home: Path) -> list[tuple[str, int, str]]:
    """What the running learner says its digest is now."""
    from online.live import LearnerNotReady, LiveModel

    try:
        found = asyncio.run(LiveModel.attach(home).digest(_LIVE_DIGEST_S))
    except LearnerNotReady:
        return []
    return [("the running learner", *found)] if found is not None else []
