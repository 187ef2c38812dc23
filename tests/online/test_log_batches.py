"""Batches are known by their writer and number: what arrives late or after a later one appends nothing."""

import asyncio

import pytest

from online.log import LogKeys, LogReader, LogWriter, connect


def open_script() -> str:
    from importlib import resources

    return resources.files("online.log").joinpath("append.lua").read_text("ascii")


def whole_log(url: str) -> list[tuple[int, bytes]]:
    reader = LogReader(url)
    found = reader.read(0, 10_000, 0)
    reader.close()
    return found


def test_a_batch_that_arrives_after_a_later_one_is_refused(log_server):
    """An old connection's last bytes must not be taken for a new batch."""
    script = open_script()
    keys = LogKeys()
    with connect(log_server.url) as client:
        names = (3, keys.log, keys.sequence, keys.writers)
        assert client.eval(script, *names, "writer", 1, 0, 0, b"a") == 1
        assert client.eval(script, *names, "writer", 2, 0, 0, b"b") == 2
        assert client.eval(script, *names, "writer", 2, 0, 0, b"b") == 2
        with pytest.raises(Exception, match="STALEBATCH"):
            client.eval(script, *names, "writer", 1, 0, 0, b"a")
    assert whole_log(log_server.url) == [(1, b"a"), (2, b"b")]


def test_writers_of_the_past_are_forgotten_the_longest_silent_first(log_server):
    script = open_script()
    keys = LogKeys()
    with connect(log_server.url) as client:
        names = (3, keys.log, keys.sequence, keys.writers)
        with client.pipeline(transaction=False) as pipeline:
            for number in range(1_001):
                pipeline.eval(script, *names, f"writer {number}", 1, 0, 0, b"x")
            pipeline.execute()
        assert client.hlen(keys.writers) == 501
        assert not client.hexists(keys.writers, "writer 499")
        assert client.hexists(keys.writers, "writer 500")
        assert client.hexists(keys.writers, "writer 1000")


def test_the_last_bytes_of_a_writer_that_has_closed_append_nothing(log_server):
    """A connection broke, the batch was sent again on another, the writer went; then the broken one's bytes arrive."""
    keys = LogKeys()

    async def appended() -> str:
        writer = LogWriter(log_server.url)
        await writer.start()
        await writer.append([b"one"])
        await writer.append([b"two"])
        await writer.close()
        return writer.writer_id

    writer_id = asyncio.run(appended())
    script = open_script()
    with connect(log_server.url) as client:
        names = (3, keys.log, keys.sequence, keys.writers)
        for batch, payload in ((1, b"one"), (2, b"two")):
            with pytest.raises(Exception, match="STALEBATCH"):
                client.eval(script, *names, writer_id, batch, 0, 0, payload)
        assert client.xlen(keys.log) == 2
