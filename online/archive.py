"""The log's older part in files: Parquet segments, one after the other, held together by a chain of digests.

    archive/<first>-<last>-<digest>.parquet      position: int64, record: binary
    archive/chain.json                           the segments in order, the only list of them that counts

A segment's digest is BLAKE3 over the digest before it and its records, so the last one stands for all. It is computed
again whenever a segment is read. The stream is trimmed only behind what stands here and in a durable snapshot; whoever
reads the log through `ArchivedLog` sees one sequence, wherever its records lie.
"""

import io
from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import msgspec
import redis
from blake3 import blake3

from online.durable import alone_in, clear_unnamed, write_durably
from online.log import LogError, LogGap, LogKeys, LogReader

SEGMENT = 50_000  # records in one file
KEPT = 100_000  # records that stay in the stream, however much is archived
_CACHED = 2


class ArchiveCorrupt(LogError):
    """A segment is not what was written. Says which file, and both digests."""

    def __init__(self, path: Path, *, expected: str, actual: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {actual}; restore the file from a copy of this archive")
        self.path, self.expected, self.actual = path, expected, actual


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: positions first … last, the chain's digest after it, and the file's own."""

    first: int
    last: int
    file: str
    digest: str
    blake3: str


class Archive:
    """One folder's segments. Many may read; one process at a time writes (`alone_in`), and looks at the log for what
    it writes only then: an erasure may have replaced it meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segments: tuple[Segment, ...] = ()
        self._stamp = (0, 0)
        self._cache: OrderedDict[str, list[bytes]] = OrderedDict()

    def segments(self) -> tuple[Segment, ...]:
        """The chain, read again where it has changed. Raises ArchiveCorrupt."""
        path = self.folder / "chain.json"
        stamp = self._stamp_now()
        if stamp == (0, 0):
            return ()
        if stamp != self._stamp:
            content = path.read_bytes()
            try:
                found = msgspec.json.decode(content, type=tuple[Segment, ...])
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise ArchiveCorrupt(path, expected="a list of segments", actual=str(error)) from error
            for before, after in pairwise(found):
                if after.first != before.last + 1:
                    raise ArchiveCorrupt(path, expected=f"position {before.last + 1} next", actual=str(after.first))
            if found and found[0].first != 1:
                raise ArchiveCorrupt(path, expected="position 1 first", actual=str(found[0].first))
            self._segments, self._stamp = found, stamp
        return self._segments

    def _stamp_now(self) -> tuple[int, int]:
        try:
            facts = (self.folder / "chain.json").stat()
        except FileNotFoundError:
            return 0, 0
        return facts.st_mtime_ns, facts.st_ino

    @property
    def last(self) -> int:
        """The last archived position; 0 where nothing is."""
        segments = self.segments()
        return segments[-1].last if segments else 0

    @property
    def digest(self) -> str:
        """The chain's end: it stands for every archived record."""
        segments = self.segments()
        return segments[-1].digest if segments else ""

    def read(self, after: int, count: int) -> list[tuple[int, bytes]]:
        """Up to `count` records after a position, of one segment. Raises ArchiveCorrupt."""
        try:
            return self._read(after, count)
        except ArchiveCorrupt:
            if self._stamp == self._stamp_now():
                raise
            return self._read(after, count)  # written anew since the chain was read: another chain names other files

    def _read(self, after: int, count: int) -> list[tuple[int, bytes]]:
        segments = self.segments()
        low, high = 0, len(segments)
        while low < high:  # the first segment that reaches behind `after`
            middle = (low + high) // 2
            if segments[middle].last > after:
                high = middle
            else:
                low = middle + 1
        if low == len(segments):
            return []
        segment = segments[low]
        records = self._records(low)
        begin = after + 1 - segment.first
        return list(enumerate(records[begin : begin + count], start=after + 1))

    def append(self, first: int, records: list[bytes]) -> Segment:
        """Write the next segment, and then the chain that names it. The caller is alone in the folder."""
        segments = self.segments()
        if first != self.last + 1 or not records:
            raise ValueError(f"the next segment begins at {self.last + 1}, not at {first}")
        segment = self._write(first, records, self.digest)
        self._write_chain((*segments, segment))
        return segment

    def replace(self, replaced: Mapping[int, bytes]) -> None:
        """Put other records in the place of some: their segments are written anew, and all behind them."""
        with alone_in(self.folder):
            self._replace(replaced)

    def _replace(self, replaced: Mapping[int, bytes]) -> None:
        segments = self.segments()
        inside = sorted(position for position in replaced if position <= self.last)
        if not inside:
            return
        kept = [segment for segment in segments if segment.last < inside[0]]
        digest = kept[-1].digest if kept else ""
        anew = []
        for number in range(len(kept), len(segments)):
            first = segments[number].first
            records = list(self._records(number))
            for position in inside:
                if first <= position < first + len(records):
                    records[position - first] = replaced[position]
            anew.append(self._write(first, records, digest))
            digest = anew[-1].digest
        self._cache.clear()
        self._write_chain((*kept, *anew))

    def check(self) -> None:
        """Read every segment. Raises ArchiveCorrupt."""
        for number in range(len(self.segments())):
            self._records(number)

    def _records(self, number: int) -> list[bytes]:
        segments = self.segments()
        segment, before = segments[number], segments[number - 1].digest if number else ""
        known = self._cache.get(segment.digest)
        if known is not None:
            self._cache.move_to_end(segment.digest)
            return known
        path = self.folder / segment.file
        content = path.read_bytes() if path.exists() else b""
        if (found := blake3(content).hexdigest()) != segment.blake3:
            raise ArchiveCorrupt(path, expected=segment.blake3, actual=found if content else "no file")
        try:
            records = _from_parquet(content)
        except (OSError, ValueError, KeyError) as error:
            raise ArchiveCorrupt(path, expected="a segment", actual=f"{len(content)} bytes: {error}") from error
        actual = _chained(before, segment.first, records)
        if actual != segment.digest or len(records) != segment.last - segment.first + 1:
            raise ArchiveCorrupt(path, expected=f"digest {segment.digest}", actual=f"digest {actual}")
        self._cache[segment.digest] = records
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
        return records

    def _write(self, first: int, records: list[bytes], before: str) -> Segment:
        digest = _chained(before, first, records)
        last = first + len(records) - 1
        name = f"{first:012d}-{last:012d}-{digest[:16]}.parquet"
        content = _to_parquet(first, records)
        write_durably(self.folder / name, content)
        return Segment(first, last, name, digest, blake3(content).hexdigest())

    def _write_chain(self, segments: tuple[Segment, ...]) -> None:
        """The new list counts from here on; files that it does not name are removed."""
        write_durably(self.folder / "chain.json", msgspec.json.encode(segments))
        named = {segment.file for segment in segments}
        for path in self.folder.glob("*.parquet"):
            if path.name not in named:
                path.unlink()
        clear_unnamed(self.folder)


class ArchivedLog(LogReader):
    """The log as one sequence: the archive's part, and the stream's."""

    def __init__(self, url: str, archive: Archive, *, keys: LogKeys | None = None) -> None:
        super().__init__(url, keys=keys)
        self.archive = archive
        self._stream_first = 0  # the lowest position that the stream was seen to hold

    def read(self, after: int, count: int, block_ms: int) -> list[tuple[int, bytes]]:
        """As the stream alone would. Raises LogGap, LogUnavailable, ArchiveCorrupt."""
        if after + 1 >= self._stream_first > 0 or after >= self.archive.last:
            try:
                return super().read(after, count, block_ms)
            except LogGap:
                if after >= self.archive.last:
                    raise
        self._stream_first = super().first()
        if after + 1 >= self._stream_first:
            return super().read(after, count, block_ms)
        return self.archive.read(after, count)

    def entry(self, position: int) -> bytes | None:
        """The record at a position, or None where the log has none yet. Raises ArchiveCorrupt."""
        found = super().entry(position)
        if found is None and 0 < position <= self.archive.last:
            archived = self.archive.read(position - 1, 1)
            return archived[0][1] if archived else None
        return found

    def first(self) -> int:
        """The lowest position, archived or not; 0 for an empty log."""
        return 1 if self.archive.last else super().first()


def open_log(url: str, home: Path) -> ArchivedLog:
    """A reader of a home's log, its archive included."""
    return ArchivedLog(url, Archive(home / "archive"))


def archive_until(log: ArchivedLog, position: int, *, segment: int = SEGMENT) -> int:
    """Archive whole segments up to a position; the last archived one."""
    archive = log.archive
    while archive.last + segment <= position:
        with alone_in(archive.folder):
            first = archive.last + 1
            if first + segment - 1 > position:
                break  # another process was here meanwhile
            records: list[bytes] = []
            while len(records) < segment:
                entries = log.read(first + len(records) - 1, min(1024, segment - len(records)), 0)
                records += [payload for _, payload in entries]
            archive.append(first, records)
    return archive.last


def trim(client: redis.Redis, archive: Archive, *, snapshot: int, head: int, kept: int = KEPT) -> int:
    """Take out of the stream what is archived and lies behind a durable snapshot; how many entries went.

    The newest `kept` stay: what is asked for most is answered from memory.
    """
    until = min(snapshot, archive.last, head - kept)
    if until < 1:
        return 0
    return int(client.execute_command("XTRIM", LogKeys().log, "MINID", f"{until + 1}-0"))


def _chained(before: str, first: int, records: list[bytes]) -> str:
    hasher = blake3(f"{before}|{first}|".encode())
    for record in records:
        hasher.update(len(record).to_bytes(4, "little"))
        hasher.update(record)
    return hasher.hexdigest()


def _to_parquet(first: int, records: list[bytes]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    positions = pyarrow.array(range(first, first + len(records)), pyarrow.int64())
    table = pyarrow.table({"position": positions, "record": pyarrow.array(records, pyarrow.binary())})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, compression="zstd")
    return out.getvalue()


def _from_parquet(content: bytes) -> list[bytes]:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(pyarrow.BufferReader(content), columns=["record"])
    records: list[bytes] = table.column("record").to_pylist()
    return records
