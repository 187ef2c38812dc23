"""A power cut takes away whatever the disk had not been told to keep; what was acknowledged is not among it.

The server runs with a preloaded library that notes how long each file was at its last sync. The cut: SIGKILL,
then every append-only file loses what came after that, but for a torn piece of random length. The same cut
under `everysec` has to lose records, or the test would show nothing.
"""

import asyncio
from pathlib import Path

import pytest

from online.log import LogReader, connect
from tests.faults.injectors import COMPILER, append_until_killed, build_fsync_library, cut_power

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler to build the preloaded library with")


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return build_fsync_library(tmp_path_factory.mktemp("preload"))


@pytest.fixture
def notes(tmp_path, library, monkeypatch) -> Path:
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FSYNC_NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


def cut(folder: Path, notes: Path, seed: int) -> int:
    return cut_power(list((folder / "appendonlydir").glob("*.incr.aof")), notes, seed)


def surviving(url: str) -> dict[int, bytes]:
    reader = LogReader(url)
    records, after = {}, 0
    while found := reader.read(after, 10_000, 0):
        records.update(found)
        after = found[-1][0]
    reader.close()
    return records


@pytest.mark.parametrize("seed", range(4))
def test_a_power_cut_takes_no_acknowledged_record_and_leaves_no_batch_twice(tmp_path, start_server, notes, seed):
    server = start_server(tmp_path / "log")
    acknowledged = asyncio.run(append_until_killed(server, 50 * (seed + 1)))
    cut(tmp_path / "log", notes, seed)
    records = surviving(start_server(tmp_path / "log").url)
    assert all(records[position] == record for record, position in acknowledged.items())
    assert list(records) == list(range(1, len(records) + 1))
    assert len(set(records.values())) == len(records)


def test_a_slow_disk_changes_nothing_about_that(tmp_path, start_server, notes, monkeypatch):
    monkeypatch.setenv("FSYNC_SLOW_US", "30000")
    server = start_server(tmp_path / "log")
    acknowledged = asyncio.run(append_until_killed(server, 200))
    cut(tmp_path / "log", notes, seed=0)
    monkeypatch.delenv("FSYNC_SLOW_US")
    records = surviving(start_server(tmp_path / "log").url)
    assert all(records[position] == record for record, position in acknowledged.items())


def test_the_same_cut_under_everysec_does_lose_records(tmp_path, start_server, notes):
    server = start_server(tmp_path / "log")
    with connect(server.url) as client:
        client.config_set("appendfsync", "everysec")
    acknowledged = asyncio.run(append_until_killed(server, 500))
    taken = cut(tmp_path / "log", notes, seed=0)
    records = surviving(start_server(tmp_path / "log").url)
    lost = [record for record, position in acknowledged.items() if records.get(position) != record]
    assert taken > 0
    assert lost
