"""Reading the log from any position on, in order, never over a gap."""

import asyncio
import threading
import time

import pytest

from online.log import LogBroken, LogGap, LogKeys, LogReader, LogUnavailable, LogWriter, connect


@pytest.fixture
def reader(log_server):
    reader = LogReader(log_server.url)
    yield reader
    reader.close()


def append(url: str, *payloads: bytes, keys: LogKeys | None = None) -> int:
    async def run():
        writer = LogWriter(url, keys=keys)
        await writer.start()
        position = await writer.append(payloads)
        await writer.close()
        return position

    return asyncio.run(run())


def test_records_are_read_from_any_position_on(log_server, reader):
    append(log_server.url, b"a", b"b", b"c")
    assert reader.read(0, 10, 0) == [(1, b"a"), (2, b"b"), (3, b"c")]
    assert reader.read(1, 1, 0) == [(2, b"b")]
    assert reader.read(3, 10, 0) == []
    assert (reader.first(), reader.head()) == (1, 3)
    assert (reader.entry(2), reader.entry(4)) == (b"b", None)


def test_an_empty_log_has_no_records_and_ends_at_zero(reader):
    assert reader.read(0, 10, 0) == []
    assert (reader.first(), reader.head(), reader.entry(1)) == (0, 0, None)


def test_a_waiting_reader_gets_a_record_as_soon_as_it_is_appended(log_server, reader):
    got = []

    def wait():
        got.append(reader.read(0, 10, 5_000))
        got.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    append(log_server.url, b"a")
    appended_by = time.monotonic()
    thread.join()
    assert got[0] == [(1, b"a")]
    assert got[1] - appended_by < 0.5


def test_waiting_ends_with_nothing_after_the_time_given(reader):
    began = time.monotonic()
    assert reader.read(0, 10, 100) == []
    assert 0.05 < time.monotonic() - began < 2.0


def test_bytes_of_every_value_come_back_as_they_were(log_server, reader):
    payload = bytes(range(256)) * 100
    append(log_server.url, payload)
    assert reader.read(0, 1, 0) == [(1, payload)]


def test_a_reader_that_is_behind_the_trimmed_part_is_told_and_gets_nothing(log_server, reader):
    append(log_server.url, *(b"%d" % i for i in range(1, 11)))
    with connect(log_server.url) as client:
        client.execute_command("XTRIM", LogKeys().log, "MINID", "5-0")
    with pytest.raises(LogGap) as gap:
        reader.read(2, 10, 0)
    assert (gap.value.expected, gap.value.found) == (3, 5)
    assert reader.read(4, 1, 0) == [(5, b"5")]
    assert (reader.first(), reader.head()) == (5, 10)


def test_a_hole_in_the_middle_is_told(log_server, reader):
    append(log_server.url, *(b"%d" % i for i in range(1, 7)))
    with connect(log_server.url) as client:
        client.xdel(LogKeys().log, "4-0")
    with pytest.raises(LogGap) as gap:
        reader.read(0, 10, 0)
    assert (gap.value.expected, gap.value.found) == (4, 5)


def test_the_end_of_a_log_that_was_trimmed_to_nothing_is_still_known(log_server, reader):
    append(log_server.url, b"a", b"b")
    with connect(log_server.url) as client:
        client.xtrim(LogKeys().log, maxlen=0, approximate=False)
    assert (reader.first(), reader.head()) == (0, 2)


def test_a_reader_goes_on_after_a_restart_of_the_server(tmp_path, start_server):
    server = start_server(tmp_path / "log")
    append(server.url, b"a")
    reader = LogReader(server.url)
    assert reader.read(0, 10, 0) == [(1, b"a")]
    server.stop()
    with pytest.raises(LogUnavailable):
        reader.read(1, 10, 0)
    server = start_server(tmp_path / "log")
    append(server.url, b"b")
    assert reader.read(1, 10, 0) == [(2, b"b")]
    reader.close()


def test_a_reader_can_be_made_before_there_is_a_server(tmp_path, start_server):
    reader = LogReader(f"unix://{tmp_path}/log/server.sock")
    with pytest.raises(LogUnavailable):
        reader.head()
    start_server(tmp_path / "log")
    assert reader.head() == 0
    reader.close()


def test_workspaces_and_partitions_have_logs_of_their_own(log_server):
    first, second = LogKeys(workspace="shop"), LogKeys(workspace="shop", partition=1)
    assert append(log_server.url, b"a", keys=first) == 1
    assert append(log_server.url, b"b", keys=second) == 1
    reader = LogReader(log_server.url, keys=second)
    assert reader.read(0, 10, 0) == [(1, b"b")]
    reader.close()


def test_all_keys_of_one_log_have_one_hash_tag():
    keys = LogKeys(workspace="shop", partition=3)
    assert all("{shop/3}" in key for key in (keys.log, keys.sequence, keys.writers))


@pytest.mark.parametrize("workspace", ["", "a{b", "a}b", "x" * 65, "a b"])
def test_a_workspace_that_would_break_the_hash_tag_is_refused(workspace):
    with pytest.raises(ValueError, match="workspace"):
        LogKeys(workspace=workspace)


def test_a_key_that_is_no_stream_is_named_as_broken(log_server, reader):
    with connect(log_server.url) as client:
        client.set(LogKeys().log, "something else")
    with pytest.raises(LogBroken, match="WRONGTYPE"):
        reader.read(0, 1, 0)
