"""The learner: the log's single reader and the state's single writer.

    restore the newest snapshot that is whole → check that the log still holds its entry → read, fold, publish, for ever

A shell around the fold: it owns the clock, the files and the log; what it learns is decided by `online.fold` alone, and
by the acts in the log where one changes the past (`online.history`).
"""

import argparse
import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np

from online.archive import KEPT, SEGMENT, archive_until, open_log, trim
from online.artifact import Artifact, ArtifactCorrupt, ArtifactMissing, read_artifact
from online.failpoint import failpoint
from online.fold import LogForeign
from online.frame import COUNTERS
from online.freshness import Freshness
from online.heap import give_back, into_large_pages
from online.history import History, Timeline, artifacts_of
from online.kernels import ready_to_fold
from online.leftovers import hold, remove_leftovers
from online.log import (
    LogError,
    LogGap,
    LogKeys,
    LogReader,
    LogUnavailable,
    LogWentBack,
    LogWriter,
    connect,
    require_durable,
)
from online.monitor import Monitor
from online.pricing.arrays import PricingArtifactUnsuitable
from online.pricing.records import Tick
from online.pricing.solving import waiting_flights
from online.pricing.stock import Ledger, reconcile
from online.publication import (
    DIGEST_ANSWERED,
    DIGEST_ASKED,
    HEARTBEAT_MS,
    Publisher,
    monitors,
    shared_folder,
)
from online.records import SCHEMA, Begin, Record, decode, encode
from online.retention import remove_old
from online.settings import Settings, SettingsInvalid, read_settings, settings_text
from online.snapshot import (
    Snapshot,
    SnapshotCorrupt,
    SnapshotForeign,
    entry_digest,
    newest_first,
    write_snapshot,
)
from online.state import State
from online.touched import Touched

READ_MAX = 1024
PUBLISH_EVERY_MS = 1.0  # at least this far apart, so that a worker always has time to finish what it reads


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Learner:
    """One workspace's learner. `run` returns after `stop`."""

    def __init__(
        self,
        home: Path,
        reader: LogReader,
        artifact: Artifact | None,
        settings: Settings,
        pricing: Artifact | None = None,
    ) -> None:
        self.home = home
        self.reader = reader
        self.snapshots = home / "snapshots"
        known = [one for one in (artifact, pricing) if one is not None]
        self.history = History(reader, artifacts_of(home, *known), snapshots=self.snapshots)
        self.timeline = Timeline(self.history, self._restored(artifact.id if artifact else ""))
        self.monitor = Monitor(self.state)
        self.log_kept = KEPT
        self._stopping = False
        self._last_snapshot = self.state.position
        self._snapshotting = 0  # the process that writes one
        self._gathering: Iterator[bool] = iter(())  # memory into large pages, for the next such copy
        self._touched = self._all_touched()
        self._touched_before: Touched | None = None  # what that process was given
        self._entry = b""

    @property
    def state(self) -> State:
        """The state at the timeline's position; another one after an act that changed the past."""
        return self.timeline.state

    def _restored(self, artifact_id: str) -> State:
        for snapshot in newest_first(self.snapshots):
            if not isinstance(snapshot, Snapshot):
                _say(f"passed over: {snapshot}")
                continue
            if snapshot.planned:
                continue
            try:
                state = self.history.load(self.snapshots, snapshot)
            except (SnapshotCorrupt, SnapshotForeign) as error:
                _say(f"passed over: {error}")
                continue
            entry = self.reader.entry(snapshot.position)
            if entry is None or entry_digest(entry) != snapshot.entry_digest:
                raise LogWentBack(
                    f"snapshot {snapshot.id} was taken at position {snapshot.position}, where the log now holds "
                    f"{'no entry' if entry is None else 'another entry'}: the server has lost writes, or it is not "
                    f"this home's. Bring the log back, or start from an empty home."
                )
            _say(f"restored snapshot {snapshot.id} at position {snapshot.position}")
            return state
        return self.history.empty(artifact_id)

    def catch_up(self) -> None:
        """Fold all that the log holds, before anyone is answered."""
        head = self.reader.head()
        began, from_position = time.monotonic(), self.state.position
        told = began
        while self.state.position < head:
            self._fold(self.reader.read(self.state.position, READ_MAX, 0))
            if time.monotonic() - told > 2.0:
                told = time.monotonic()
                rate = (self.state.position - from_position) / (told - began)
                _say(f"folding the log: {self.state.position:,} of {head:,}, {rate:,.0f} records/s")

    def _fold(self, entries: list[tuple[int, bytes]], control: np.ndarray | None = None) -> list[Record]:
        def alive(_: int) -> None:
            if control is not None:  # an act on the past may take its time: workers need not look for a successor
                control[HEARTBEAT_MS] = time.time_ns() // 1_000_000

        records = self.timeline.entries(entries, progress=alive)
        if entries:
            self._entry = entries[-1][1]
        return records

    def stop(self, *_: int | FrameType | None) -> None:
        """Finish the batch at hand, take a snapshot, and return from `run`."""
        self._stopping = True

    def check_seats(self, url: str) -> None:
        """The server's counts of seats are those of the log, or are written anew from it."""
        client = connect(url)
        try:
            for name in reconcile(client, LogKeys(), self.state, self._ledger()):
                _say(f"seats of stock {name} counted again from the log: the server's count was another")
        finally:
            client.close()

    def _ledger(self) -> dict[str, dict[str, str]] | None:
        """Seats out of the log itself, where an act has changed what the state is the fold of; else None.

        Any act on the past will do: right behind a rollback the lineage is one stretch, and lacks what was sold since.
        """
        if self.history.lineages.newest_change == 0:
            return None
        ledger, place = Ledger(), 0
        try:
            while place < self.state.position:
                for position, payload in self.reader.read(place, min(READ_MAX, self.state.position - place), 0):
                    ledger.record(position, decode(payload))
                    place = position
        except LogGap as error:
            _say(f"seats are left as the server counts them: {error}")
            return {}
        return ledger.stocks

    def tick(self, url: str) -> None:
        """Nothing to read, and flights to solve: have the log say that some are solved here."""
        if waiting_flights(self.state):
            flights = self.state.settings.pricing.solves_per_tick
            try:
                asyncio.run(_append(url, encode(Tick(time.time_ns() // 1_000_000, flights)), patience_s=0.5))
            except LogError as error:
                _say(f"no tick: {error}")

    def run(self, *, url: str, snapshot_every_s: float) -> None:
        """Read, fold, publish, until `stop`."""
        ready_to_fold()
        self.catch_up()
        self.check_seats(url)
        for gone in remove_leftovers(self.home):
            _say(f"took away the shared memory of {gone}, whose service was killed")
        hold(self.home)
        publisher = Publisher(shared_folder(self.home), self.state, artifacts=self.home / "artifacts")
        publisher.watch = self._note
        publisher.publish()  # once by rows: its kernels too are ready before anyone waits for them
        control = publisher.control
        freshness = Freshness(control)
        give_back()  # of what restoring and catching up took: every snapshot is a fork of this process
        self._gathering = into_large_pages()
        _say(f"learner ready at position {self.state.position}")
        published = snapshotted = time.monotonic()
        switched = self.timeline.switched
        while not self._stopping:
            try:
                entries = self.reader.read(self.state.position, READ_MAX, 50)
            except LogUnavailable as error:
                _say(f"log unavailable, trying again: {error}")
                time.sleep(0.2)
                continue
            if entries:
                records = self._fold(entries, control)
                failpoint("learner.folded")
                if self.timeline.switched != switched:
                    switched = self.timeline.switched
                    self._switch(publisher, url)
                wait = PUBLISH_EVERY_MS / 1e3 - (time.monotonic() - published)
                if wait > 0:
                    time.sleep(wait)
                publisher.publish()
                failpoint("learner.published")
                published = time.monotonic()
                freshness.published(records)
                self.monitor.update()
                figures = self.monitor.figures()
                monitors(control)[: len(figures)] = figures
            else:
                self.tick(url)
            control[HEARTBEAT_MS] = time.time_ns() // 1_000_000
            freshness.show()
            self._copy_ended()
            next(self._gathering, None)
            if control[DIGEST_ASKED] != control[DIGEST_ANSWERED]:
                publisher.answer_digest()
            if time.monotonic() - snapshotted > snapshot_every_s:
                self.snapshot_beside("schedule", url)
                snapshotted = time.monotonic()
        self.snapshot("shutdown")

    def _switch(self, publisher: Publisher, url: str) -> None:
        """Another past from here on: what looked at the old state looks at the new one, and it is written down."""
        changed_at = self.history.lineages.newest_change
        publisher.lineage_at = changed_at
        publisher.adopt(self.state)
        self._touched, self._touched_before = self._all_touched(), None
        self.monitor = Monitor(self.state)
        give_back()
        failpoint("learner.switched")
        _say(f"act at position {changed_at} changed the past: folded again, now at position {self.state.position}")
        self.snapshot_beside("a new past", url)

    def snapshot_beside(self, reason: str, url: str) -> None:
        """Write a snapshot out of a copy of this process, and archive, so that the fold goes on: it pauses for a fork.

        Only where this process has one thread: a copy would have locks that nobody lets go.
        """
        if self.state.position == self._last_snapshot:
            return
        if not self._copy_ended():
            return  # the one before is not through yet
        if threading.active_count() > 1 or len(os.listdir("/proc/self/task")) > 1:
            self.snapshot(reason)
            self.archive(url, self.state.position)
            return
        entry = self._entry or self.reader.entry(self.state.position) or b""
        touched = self._touched if self._all_noted() else None
        self._snapshotting = os.fork()
        if self._snapshotting:
            self._last_snapshot = self.state.position
            self._touched_before = self._touched if touched is not None else self._all_touched()
            self._touched = Touched(self.timeline.lineage.last, self.state.arrays)
            return
        code = 1
        try:
            self._write(reason, entry, touched)
            self.archive(url, self.state.position)
            code = 0
        except Exception as error:
            _say(f"no snapshot: {type(error).__name__}: {error}")
        finally:
            os._exit(code)  # nothing of the parent's is closed or flushed here

    def _copy_ended(self) -> bool:
        """Whether no copy of this process writes a snapshot; what one has not written, the next one looks at."""
        if self._snapshotting:
            found, status = os.waitpid(self._snapshotting, os.WNOHANG)
            if found == 0:
                return False
            self._snapshotting = 0
            if self._touched_before is not None and status != 0:
                self._touched = self._touched.joined(self._touched_before)
            self._gathering = into_large_pages()
        return True

    def snapshot(self, reason: str) -> None:
        """Write the state, where anything has happened since the last time."""
        if self.state.position == self._last_snapshot:
            return
        self._write(reason, self._entry or self.reader.entry(self.state.position) or b"")
        self._last_snapshot = self.state.position

    def _note(self, rows: dict[str, np.ndarray | None]) -> None:
        self._touched.note(rows)

    def _all_noted(self) -> bool:
        """Whether nothing was folded that has not been published: what moved there nobody has been told yet."""
        return not any(int(journal.used[0]) for journal in self.state.journals().values())

    def _all_touched(self) -> Touched:
        touched = Touched(0)
        touched.note(dict.fromkeys(self.state.journals()))
        return touched

    def _write(self, reason: str, entry: bytes, touched: Touched | None = None) -> None:
        snapshot = write_snapshot(
            self.snapshots,
            self.state,
            entry=entry,
            reason=reason,
            counters=counters_of(self.state),
            lineage=self.timeline.lineage,
            acts=self.history.lineages.acts,
            touched=touched,
        )
        remove_old(self.snapshots)
        _say(f"snapshot {snapshot.id} at position {snapshot.position}: {reason}, {snapshot.bytes / 1e6:.1f} MB")

    def archive(self, url: str, position: int) -> None:
        """Put what lies behind a durable snapshot into files, and take it out of the stream but for the newest."""
        log = open_log(url, self.home)  # of its own: this may run in a copy of the process that reads
        try:
            archive_until(log, position, segment=max(1_000, min(SEGMENT, self.log_kept // 2)))
            failpoint("archive.archived")
            with connect(url) as client:
                gone = trim(client, log.archive, snapshot=position, head=log.head(), kept=self.log_kept)
        finally:
            log.close()
        if gone:
            _say(f"archived up to position {log.archive.last:,}; {gone:,} records left the stream")


def counters_of(state: State) -> dict[str, int]:
    """The accounting, by name."""
    return {name: int(value) for name, value in zip(COUNTERS, state.views.frame.counters, strict=True)}


def begin(
    url: str, reader: LogReader, artifact: Artifact | None, settings: Settings, pricing: Artifact | None = None
) -> Settings:
    """The log's first record: written where the log is empty, else read. The settings that the log is folded under.

    Raises LogForeign where the log began from another artifact than the one given.
    """
    artifact_id = artifact.id if artifact else ""
    pricing_id = pricing.id if pricing else ""
    if reader.head() == 0:
        now_ms = time.time_ns() // 1_000_000
        record = Begin(SCHEMA, artifact_id, settings.seed, settings_text(settings), now_ms, pricing_id)
        asyncio.run(_append(url, encode(record)))
    payload = reader.entry(1)
    if payload is None:
        raise LogForeign("the log's first record is gone: it was trimmed, or the server is not this home's")
    first = decode(payload)
    if not isinstance(first, Begin):
        raise LogForeign("this home's log has no beginning at all: start with another --home")
    for found, given in ((first.artifact_id, artifact_id), (first.pricing_artifact_id, pricing_id)):
        if found != given:
            raise LogForeign(
                f"this home's log began from artifact {found or 'none'}, not {given or 'none'}: start with that "
                f"artifact, or with another --home"
            )
    return read_settings(first.settings)


async def _append(url: str, payload: bytes, *, patience_s: float = 5.0) -> None:
    writer = LogWriter(url, patience_s=patience_s)
    await writer.start()
    try:
        await writer.append([payload])
    finally:
        await writer.close()


def main(arguments: list[str] | None = None) -> int:
    """The learner's process: `python -m online.learner`, started by the supervisor."""
    parser = argparse.ArgumentParser(prog="python -m online.learner", description=main.__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--log-url", required=True)
    parser.add_argument("--artifact", type=Path, default=None)
    parser.add_argument("--pricing-artifact", type=Path, default=None)
    parser.add_argument("--settings", type=Path, default=None, help="JSON; counts where the log is still empty")
    parser.add_argument("--snapshot-every-s", type=float, default=300.0)
    parser.add_argument("--log-kept", type=int, default=KEPT, help="records that stay in the stream once archived")
    options = parser.parse_args(arguments)
    try:
        require_durable(connect(options.log_url))
        artifact = read_artifact(options.artifact) if options.artifact else None
        pricing = read_artifact(options.pricing_artifact) if options.pricing_artifact else None
        settings = read_settings(options.settings.read_bytes()) if options.settings else Settings()
        reader = open_log(options.log_url, options.home)
        settings = begin(options.log_url, reader, artifact, settings, pricing)
        learner = Learner(options.home, reader, artifact, settings, pricing)
        learner.log_kept = options.log_kept
    except (
        LogError,
        LogForeign,
        ArtifactMissing,
        ArtifactCorrupt,
        PricingArtifactUnsuitable,
        SettingsInvalid,
        SnapshotCorrupt,
    ) as error:
        _say(f"learner: {error}")
        return 3
    signal.signal(signal.SIGTERM, learner.stop)
    signal.signal(signal.SIGINT, learner.stop)
    learner.run(url=options.log_url, snapshot_every_s=options.snapshot_every_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
