"""The archive: one sequence with the stream, held together by a chain, trimmed only behind what is safe elsewhere."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from online.archive import Archive, ArchiveCorrupt, ArchivedLog, archive_until, trim
from online.log import LogReader, LogWriter, connect
from online.log.rewrite import replace_records


def filled(url: str, n: int) -> list[bytes]:
    records = [b"record %d " % k + os.urandom(k % 40) for k in range(1, n + 1)]

    async def append() -> None:
        writer = LogWriter(url)
        await writer.start()
        await writer.append(records)
        await writer.close()

    asyncio.run(append())
    return records


def whole(log: ArchivedLog, count: int) -> list[bytes]:
    found, after = [], 0
    while entries := log.read(after, count, 0):
        assert entries[0][0] == after + 1
        found += [payload for _, payload in entries]
        after = entries[-1][0]
    return found


def test_archive_and_stream_are_read_as_one_whatever_was_trimmed(tmp_path: Path, log_server) -> None:
    records = filled(log_server.url, 950)
    log = ArchivedLog(log_server.url, Archive(tmp_path / "archive"))
    with connect(log_server.url) as client:
        assert archive_until(log, 120, segment=100) == 100
        assert trim(client, log.archive, snapshot=60, head=950, kept=100) == 60, "no further than the snapshot"
        assert whole(log, 7) == records
        assert archive_until(log, 900, segment=100) == 900
        assert trim(client, log.archive, snapshot=880, head=950, kept=300) == 590, "what stays stays"
        other = ArchivedLog(log_server.url, Archive(tmp_path / "archive"))
        for count in (1, 33, 1_000):
            assert whole(log, count) == whole(other, count) == records
        reader = LogReader(log_server.url)
        assert reader.first() == 651 and log.first() == 1 and log.head() == 950
        for position in (1, 100, 101, 650, 651, 950):
            assert log.entry(position) == records[position - 1]
        assert log.entry(951) is None and log.entry(0) is None
    names = [segment.file for segment in log.archive.segments()]
    assert names[0].startswith("000000000001-000000000100-") and len(names) == 9


def test_a_segment_that_is_not_what_was_written_is_refused_by_name(tmp_path: Path, log_server) -> None:
    filled(log_server.url, 400)
    archive = Archive(tmp_path / "archive")
    log = ArchivedLog(log_server.url, archive)
    archive_until(log, 400, segment=100)
    chance = random.Random(5)
    for number, segment in enumerate(archive.segments()):
        path = archive.folder / segment.file
        good = path.read_bytes()
        for _ in range(25):
            spoilt = bytearray(good)
            spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
            path.write_bytes(spoilt)
            with pytest.raises(ArchiveCorrupt) as refused:
                Archive(archive.folder).read(100 * number, 100)
            assert refused.value.path == path and refused.value.expected != refused.value.actual
        path.write_bytes(good)
    first, second = (archive.folder / segment.file for segment in archive.segments()[:2])
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(ArchiveCorrupt):
        Archive(archive.folder).check()
    first.write_bytes(content)
    Archive(archive.folder).check()
    (archive.folder / "chain.json").write_text("[[1]]")
    with pytest.raises(ArchiveCorrupt):
        Archive(archive.folder).check()


def test_replaced_records_leave_stream_archive_and_the_servers_files(tmp_path: Path, log_server) -> None:
    records = filled(log_server.url, 600)
    archive = Archive(tmp_path / "archive")
    log = ArchivedLog(log_server.url, archive)
    archive_until(log, 600, segment=100)
    chain = [segment.digest for segment in archive.segments()]
    replaced = dict.fromkeys((150, 151, 420, 599), b"gone")
    with connect(log_server.url) as client:
        trim(client, archive, snapshot=600, head=600, kept=300)
        replace_records(client, replaced)
        archive.replace(replaced)
        head_before = log.head()
    expected = [b"gone" if k in replaced else record for k, record in enumerate(records, start=1)]
    assert whole(ArchivedLog(log_server.url, Archive(tmp_path / "archive")), 64) == expected
    anew = [segment.digest for segment in archive.segments()]
    assert anew[0] == chain[0] and not set(anew[1:]) & set(chain[1:])
    assert head_before == 600 and filled(log_server.url, 3) and log.head() == 603
    for position in replaced:
        for path in [*(tmp_path / "log").rglob("*"), *(tmp_path / "archive").glob("*")]:
            if path.is_file():
                assert records[position - 1] not in path.read_bytes(), path


def test_appends_go_on_while_records_are_replaced(tmp_path: Path, log_server) -> None:
    filled(log_server.url, 5_000)

    async def both() -> list[int]:
        writer = LogWriter(log_server.url)
        await writer.start()
        client = connect(log_server.url)
        replacing = asyncio.create_task(asyncio.to_thread(replace_records, client, {7: b"gone", 4_999: b"gone"}))
        positions = []
        while not replacing.done() or len(positions) < 50:
            positions.append(await writer.append([b"later %d" % len(positions)]))
        await replacing
        await writer.close()
        client.close()
        return positions

    positions = asyncio.run(both())
    assert positions == list(range(5_001, 5_001 + len(positions)))
    reader = LogReader(log_server.url)
    assert reader.entry(7) == reader.entry(4_999) == b"gone"
    for k, position in enumerate(positions):
        assert reader.entry(position) == b"later %d" % k


def test_who_reads_while_segments_are_written_anew_reads_the_new_ones(tmp_path: Path, monkeypatch) -> None:
    archive, other = Archive(tmp_path), Archive(tmp_path)
    archive.append(1, [b"record %d" % k for k in range(1, 101)])
    assert archive.read(0, 100)[4] == (5, b"record 5")
    stamps = iter([archive._stamp])  # the chain is read, and then everything is replaced before its file is opened
    now = archive._stamp_now
    archive._cache.clear()
    other.replace({5: b"another"})
    monkeypatch.setattr(archive, "_stamp_now", lambda: next(stamps, None) or now())
    assert archive.read(0, 100)[4] == (5, b"another")
    next(tmp_path.glob("*.parquet")).unlink()
    archive._cache.clear()
    with pytest.raises(ArchiveCorrupt, match="no file"):
        archive.read(0, 100)
