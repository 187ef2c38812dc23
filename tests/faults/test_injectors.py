"""The injectors do what they say, and what they hit keeps its promises."""

import asyncio
import os
from pathlib import Path

import pytest

from online.log import LogReader, LogUnavailable, LogWriter
from online.settings import Settings
from online.snapshot import find_snapshot, list_snapshots, load_snapshot, write_snapshot
from online.state import State
from tests.faults.injectors import UnreliableRelay, bound, no_room, paused


@pytest.mark.parametrize("seed", range(3))
def test_replies_lost_or_late_lose_and_double_no_record(tmp_path: Path, log_server, seed: int) -> None:
    async def through_the_relay() -> tuple[dict[bytes, int], UnreliableRelay]:
        relay = UnreliableRelay(
            tmp_path / "relay", log_server.url.removeprefix("unix://"), seed=seed, lose=0.08, delay=0.1
        )
        kept: dict[bytes, int] = {}
        async with relay:
            writer = LogWriter(relay.url, patience_s=3.0, reply_timeout_s=1.0)
            await writer.start()
            for number in range(120):
                record = b"record %d" % number
                for _ in range(20):
                    try:
                        kept[record] = await writer.append([record])
                        break
                    except LogUnavailable:
                        await asyncio.sleep(0.02)
            await writer.close()
        return kept, relay

    kept, relay = asyncio.run(through_the_relay())
    assert relay.lost > 2 and relay.delayed > 2
    reader = LogReader(log_server.url)
    there = [payload for _, payload in reader.read(0, 1_000, 0)]
    reader.close()
    assert len(kept) == 120 and all(there[position - 1] == record for record, position in kept.items())
    assert len(set(there)) == len(there)


def test_a_disk_that_is_full_leaves_the_last_snapshot_whole(make_small_state, tmp_path: Path) -> None:
    state: State = make_small_state
    good = write_snapshot(tmp_path, state, entry=b"", reason="a test", counters={})
    state.views.frame.watermark_ms[0] += 1
    state.arrays["decisions.user"][:] = 7
    state.views.frame.position[0] += 1
    with no_room(512), pytest.raises(OSError):
        write_snapshot(tmp_path, state, entry=b"", reason="no room", counters={})
    assert [snapshot.id for snapshot in list_snapshots(tmp_path)] == [good.id]
    assert load_snapshot(tmp_path, find_snapshot(tmp_path, good.id), None).digest() == good.state_digest
    after = write_snapshot(tmp_path, state, entry=b"", reason="room again", counters={})
    assert load_snapshot(tmp_path, after, None).digest() == state.digest()


@pytest.fixture
def make_small_state() -> State:
    return State(Settings(), None)


def test_a_paused_process_answers_nobody_and_goes_on(log_server) -> None:
    reader = LogReader(log_server.url, reply_timeout_s=0.2)
    assert reader.head() == 0
    with paused(log_server.pid), pytest.raises(LogUnavailable):
        reader.head()
    assert reader.head() == 0
    reader.close()
    assert Path(f"/proc/{log_server.pid}").exists() and os.getpid()


def test_the_rule_of_three_is_said_with_the_count() -> None:
    assert bound(300) == "0 of 300: at 95 % fewer than 1.00% of them fail"
