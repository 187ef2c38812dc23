"""What the writer has acknowledged is in the log: once, in order, whatever dies on the way."""

import asyncio
import os
import signal
import time
from collections import Counter

import pytest
import uvloop

from online.log import LogReader, LogServer, LogUnavailable, LogWentBack, LogWriter, connect


def whole_log(url: str) -> list[tuple[int, bytes]]:
    reader = LogReader(url)
    records, after = [], 0
    while found := reader.read(after, 10_000, 0):
        records += found
        after = found[-1][0]
    reader.close()
    return records


async def started(url: str, **options) -> LogWriter:
    writer = LogWriter(url, **options)
    await writer.start()
    assert writer.connected
    return writer


def test_sixty_four_concurrent_appenders_get_their_records_in_order_next_to_each_other_without_a_hole(
    log_server,
):
    async def run():
        writer = await started(log_server.url)

        async def appender(name: int):
            answers = []
            for turn in range(20):
                size = 1 + (name + turn) % 4
                answers.append((await writer.append([b"%d/%d/%d" % (name, turn, part) for part in range(size)]), size))
            return answers

        answers = await asyncio.gather(*map(appender, range(64)))
        await writer.close()
        return answers

    answers = asyncio.run(run())
    records = dict(whole_log(log_server.url))
    assert list(records) == list(range(1, len(records) + 1))
    assert len(records) == sum(size for of_one in answers for _, size in of_one)
    for name, of_one in enumerate(answers):
        assert [position for position, _ in of_one] == sorted(position for position, _ in of_one)
        for turn, (last, size) in enumerate(of_one):
            expected = [b"%d/%d/%d" % (name, turn, part) for part in range(size)]
            assert [records[position] for position in range(last - size + 1, last + 1)] == expected


def test_two_writers_share_one_sequence(log_server):
    async def run():
        writers = [await started(log_server.url) for _ in range(2)]
        positions = await asyncio.gather(*(writers[i % 2].append([b"%d" % i]) for i in range(200)))
        for writer in writers:
            await writer.close()
        return positions

    positions = asyncio.run(run())
    assert sorted(positions) == list(range(1, 201))
    records = dict(whole_log(log_server.url))
    assert all(records[position] == b"%d" % i for i, position in enumerate(positions))


def test_a_batch_larger_than_the_limits_travels_in_several_and_stays_in_order(log_server):
    async def run():
        writer = await started(log_server.url, batch_bytes_max=1_000, batch_records_max=7)
        big = writer.submit([b"x" * 5_000] * 20)  # one append is never split
        small = [writer.submit([b"%d" % i]) for i in range(50)]
        last = await big, [await done for done in small]
        await writer.close()
        return last

    big, small = asyncio.run(run())
    assert big == 20
    assert small == list(range(21, 71))


def test_who_is_told_hears_what_who_waits_gets(tmp_path, start_server):
    server = start_server(tmp_path / "log")
    told: list[tuple[int | None, str, bool]] = []

    async def run():
        writer = await started(server.url)

        def tell(position: int | None, error: Exception | None) -> None:
            told.append((position, type(error).__name__, position is None or position <= writer.head))

        for number in range(5):
            writer.tell(b"%d" % number, tell)
        assert await writer.append([b"a", b"b"]) == 7
        os.kill(server.pid, signal.SIGSTOP)
        try:
            writer.tell(b"in vain", tell)
            with pytest.raises(LogUnavailable):
                await writer.append([b"c"])
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await writer.close()

    asyncio.run(run())
    assert told == [(n, "NoneType", True) for n in range(1, 6)] + [(None, "LogUnavailable", True)]


@pytest.mark.parametrize("between_kills", [1, 40, 1_000])
def test_after_kills_of_the_server_under_load_every_acknowledged_record_is_there_exactly_once(
    tmp_path, start_server, between_kills
):
    folder = tmp_path / "log"
    server = start_server(folder)
    acknowledged: dict[bytes, int] = {}

    async def run():
        writer = await started(server.url)
        stopping = False

        async def appender(name: int):
            turn = 0
            while not stopping:
                record = b"%d/%d" % (name, turn)
                turn += 1
                try:
                    acknowledged[record] = await writer.append([record])
                except LogUnavailable:  # its fate is unknown; it is never sent again, so it is there once at most
                    await asyncio.sleep(0.02)

        async def acknowledgements(many: int):
            wanted = len(acknowledged) + many
            while len(acknowledged) < wanted:
                await asyncio.sleep(0.001)

        async def kill():
            nonlocal stopping
            running = server
            for _ in range(3):
                await acknowledgements(between_kills)
                os.kill(running.pid, signal.SIGKILL)
                running.stop()
                running = start_server(folder)
            await acknowledgements(between_kills)
            stopping = True

        await asyncio.gather(kill(), *map(appender, range(32)))
        await writer.close()

    asyncio.run(run())
    records = whole_log(server.url)
    assert [position for position, _ in records] == list(range(1, len(records) + 1))
    assert max(Counter(record for _, record in records).values()) == 1
    by_position = dict(records)
    assert len(acknowledged) >= 4 * between_kills
    assert all(by_position[position] == record for record, position in acknowledged.items())


class Proxy:
    """Passes bytes on to the server and back; drops chosen replies by closing the line."""

    def __init__(self, folder, server_path: str, drop: set[int]) -> None:
        self.path = str(folder / "proxy.sock")
        self.url = f"unix://{self.path}"
        self._server_path = server_path
        self._drop = drop
        self._replies = 0
        self.dropped = 0
        self._lines: list[asyncio.StreamWriter] = []

    async def __aenter__(self):
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for line in self._lines:
            line.close()
            await line.wait_closed()

    async def _serve(self, reader, writer):
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._server_path)
        self._lines += [writer, upstream_writer]

        async def up():
            while data := await reader.read(1 << 16):
                upstream_writer.write(data)
            upstream_writer.close()

        task = asyncio.create_task(up())
        while data := await upstream_reader.read(1 << 16):
            if data.startswith(b":"):  # the position that a batch begins at
                self._replies += 1
                if self._replies in self._drop:
                    self.dropped += 1
                    break
            writer.write(data)
        writer.close()
        upstream_writer.close()
        task.cancel()


def test_a_lost_reply_makes_no_duplicate_and_no_error(log_server, tmp_path):
    async def run():
        async with Proxy(tmp_path, log_server.url.removeprefix("unix://"), drop={1, 3, 4, 9}) as proxy:
            writer = await started(proxy.url)
            positions = [await writer.append([b"%d" % i, b"%d again" % i]) for i in range(12)]
            await writer.close()
            return positions, proxy.dropped

    positions, dropped = asyncio.run(run())
    assert dropped == 4
    assert positions == [2 * i + 2 for i in range(12)]
    assert len(whole_log(log_server.url)) == 24


def test_the_server_may_forget_its_scripts(log_server):
    async def run():
        writer = await started(log_server.url)
        first = await writer.append([b"a"])
        with connect(log_server.url) as client:
            client.script_flush()
        second = await writer.append([b"b"])
        await writer.close()
        return first, second

    assert asyncio.run(run()) == (1, 2)


def test_while_the_server_is_away_appends_fail_fast_and_the_writer_recovers_by_itself(tmp_path, start_server):
    folder = tmp_path / "log"
    server = start_server(folder)

    async def run():
        writer = await started(server.url)
        await writer.append([b"before"])
        server.stop()
        began = time.monotonic()
        with pytest.raises(LogUnavailable) as refusal:
            await writer.append([b"first during"])
        assert refusal.value.retry_after_s > 0
        assert 0.3 < time.monotonic() - began < 1.5  # the patience is 0.4 s
        began = time.monotonic()
        with pytest.raises(LogUnavailable):
            await writer.append([b"second during"])
        assert time.monotonic() - began < 0.3  # at once, now that the outage is known
        start_server(folder)
        deadline = time.monotonic() + 5
        while not writer.connected:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert await writer.append([b"after"]) == 2
        await writer.close()

    asyncio.run(run())


def test_a_restart_shorter_than_the_patience_is_not_noticed_by_those_who_append(tmp_path, start_server):
    folder = tmp_path / "log"
    server = start_server(folder)

    async def run():
        writer = await started(server.url, patience_s=10.0)
        await writer.append([b"before"])
        server.stop()
        waiting = [asyncio.create_task(writer.append([b"%d" % i])) for i in range(5)]
        await asyncio.sleep(0.05)
        start_server(folder)
        assert await asyncio.gather(*waiting) == [2, 3, 4, 5, 6]
        await writer.close()

    asyncio.run(run())


def test_a_server_that_hangs_counts_as_away_after_the_reply_timeout_and_loses_nothing(log_server):
    async def run():
        writer = await started(log_server.url, reply_timeout_s=0.3)
        await writer.append([b"before"])
        os.kill(log_server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(LogUnavailable, match="no reply"):
                await writer.append([b"unknown fate"])
            began = time.monotonic()
            with pytest.raises(LogUnavailable):
                await writer.append([b"refused"])
            assert time.monotonic() - began < 0.2
        finally:
            os.kill(log_server.pid, signal.SIGCONT)
        deadline = time.monotonic() + 5
        while not writer.connected:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        await writer.append([b"after"])
        await writer.close()

    asyncio.run(run())
    records = [record for _, record in whole_log(log_server.url)]
    assert records in ([b"before", b"after"], [b"before", b"unknown fate", b"after"])


@pytest.mark.parametrize("run_in", [asyncio.run, uvloop.run])
def test_a_process_that_was_busy_elsewhere_does_not_take_its_own_pause_for_the_servers(log_server, run_in):
    async def run():
        writer = await started(log_server.url, reply_timeout_s=0.1)
        under_way = writer.submit([b"a"])
        await asyncio.sleep(0)  # it is sent
        time.sleep(0.3)  # the whole process compiles, or is stopped
        assert await under_way == 1
        await writer.close()

    run_in(run())


def test_starting_without_a_server_is_no_error_but_appending_is(tmp_path):
    async def run():
        writer = LogWriter(f"unix://{tmp_path}/nobody.sock", patience_s=0.1)
        await writer.start()
        assert not writer.connected
        with pytest.raises(LogUnavailable):
            await writer.append([b"x"])
        await writer.close()

    asyncio.run(run())


def test_a_full_queue_refuses_instead_of_growing(log_server):
    async def run():
        writer = await started(log_server.url, queue_bytes_max=10_000)
        kept = [writer.submit([b"x" * 1_000]) for _ in range(10)]
        with pytest.raises(LogUnavailable, match="waiting"):
            writer.submit([b"x"])
        await asyncio.gather(*kept)
        await writer.append([b"room again"])
        await writer.close()

    asyncio.run(run())


def test_full_memory_is_told_apart_from_a_lost_server_and_nothing_is_half_appended(log_server):
    async def run():
        writer = await started(log_server.url)
        await writer.append([b"before"])
        with connect(log_server.url) as client:
            client.config_set("maxmemory", 1)
            with pytest.raises(LogUnavailable, match="OOM"):
                await writer.append([b"a", b"b", b"c"])
            client.config_set("maxmemory", 0)
        assert await writer.append([b"after"]) == 2
        await writer.close()

    asyncio.run(run())
    assert [record for _, record in whole_log(log_server.url)] == [b"before", b"after"]


def test_a_server_that_came_back_with_less_than_it_acknowledged_is_never_written_to(tmp_path, start_server):
    server = start_server(tmp_path / "log")

    async def run():
        writer = await started(server.url, patience_s=10.0)
        await writer.append([b"a", b"b", b"c"])
        server.stop()
        (tmp_path / "log" / "appendonlydir").rename(tmp_path / "lost")
        start_server(tmp_path / "log")
        with pytest.raises(LogWentBack, match="position 3 was acknowledged"):
            await writer.append([b"d"])
        with pytest.raises(LogWentBack):
            writer.submit([b"e"])
        await writer.close()

    asyncio.run(run())
    assert whole_log(server.url) == []


def test_an_emptied_log_is_noticed_without_a_lost_connection(log_server):
    async def run():
        writer = await started(log_server.url)
        await writer.append([b"a"])
        with connect(log_server.url) as client:
            client.flushall()
        with pytest.raises(LogWentBack):
            await writer.append([b"b"])
        await writer.close()

    asyncio.run(run())


def test_an_append_whose_caller_went_away_before_it_was_sent_is_not_written(log_server):
    async def run():
        writer = await started(log_server.url)
        writer.submit([b"gone"]).cancel()
        assert await writer.append([b"stays"]) == 1
        await writer.close()

    asyncio.run(run())
    assert whole_log(log_server.url) == [(1, b"stays")]


def test_closing_waits_for_what_is_under_way_and_refuses_what_comes_after(log_server):
    async def run():
        writer = await started(log_server.url)
        waiting = [writer.submit([b"%d" % i]) for i in range(100)]
        await writer.close()
        assert [done.result() for done in waiting] == list(range(1, 101))
        with pytest.raises(LogUnavailable, match="closed"):
            writer.submit([b"late"])

    asyncio.run(run())


def test_a_log_over_tcp_with_a_password_works(tmp_path, start_server):
    """What --redis-url gives: redis://:password@host:port/0."""
    server: LogServer = start_server(tmp_path / "log")
    with connect(server.url) as client:
        client.config_set("port", port := free_port())
        client.config_set("requirepass", "secret")

    async def run():
        writer = await started(f"redis://:secret@127.0.0.1:{port}/0")
        position = await writer.append([b"a"])
        await writer.close()
        refused = LogWriter(f"redis://:wrong@127.0.0.1:{port}/0", patience_s=0.1)
        await refused.start()
        with pytest.raises(LogUnavailable, match="WRONGPASS"):
            await refused.append([b"b"])
        await refused.close()
        return position

    assert asyncio.run(run()) == 1


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
