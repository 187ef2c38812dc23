"""Erasure: the state is one that never saw the user, and broken off anywhere it is finished by doing it again."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from online.archive import archive_until, open_log
from online.durable import alone_in
from online.erasure import Receipt, finish_erasure
from online.failpoint import NAMES
from online.fold import Fold
from online.history import History, artifacts_of
from online.lineage import Arguments, Cut, Sieve, subject, user_key
from online.log import LogServer, LogWriter, connect
from online.planning import planned, written
from online.records import Act, Begin, Erased, Event, Record, encode
from online.settings import settings_text
from online.snapshot import SnapshotUnwanted, list_snapshots, write_snapshot
from online.state import State
from tests.faults.injectors import failpoint
from tests.online.records_in_memory import Records
from tests.online.test_lineage import RULES, both, examples, folded_with_holes, kept_by_hand, run, with_acts

ROOT = Path(__file__).resolve().parent.parent.parent
GHOST = "the-ghost-of-room-9"
# Positions of records, and what is ordered by them: where records were taken out, the later ones stand further behind.
POSITIONS = ("users.last_position", "items.last_position", "decisions.position", "flights.last_position")
POSITIONS += ("quotes.position", "claims.position", "flights.due", "fare_rules_used.used")


def erase_of(history: History, user: str) -> Act:
    """The act as the service writes it: planned, its cut beginning at the user's first record."""
    plan = planned(history, "erase", Arguments(without=Cut(users=(user_key(user),))), dry_run=True)
    return Act(act="erase", reason="a test", received_ms=0, arguments=written(plan.arguments))


def erased(entries: list[tuple[int, Record]], user: str) -> list[tuple[int, Record]]:
    """The log as it is after the erasure."""
    sieve = Sieve((Cut(users=(user_key(user),)),))
    return [(p, Erased(record.received_ms) if sieve.removes(p, record) else record) for p, record in entries]


@settings(max_examples=examples(6))
@given(seed=st.integers(0, 2**32), of=st.integers(0, 19), many=st.integers(0, 3), more=st.integers(0, 60))
def test_an_erased_user_was_never_there_whatever_else_was_done_to_the_past(
    make_stream, seed: int, of: int, many: int, more: int
) -> None:
    """Slates and fares in one log, acts on the past before the erasure, more records behind it, the user's too."""
    user = f"u{of}"
    entries = both(make_stream, seed, 220 + more)
    before, later = with_acts(entries[:220], seed, many), [record for _, record in entries[220:]]
    assume(any(subject(record)[0] == user for _, record in before))
    history = History(Records(before), lambda _: None)
    plan = planned(history, "erase", Arguments(without=Cut(users=(user_key(user),))), dry_run=True)
    act = erase_of(history, user)
    told = [*(record for _, record in before), act, *later]
    log = list(enumerate(told, start=1))
    at = len(before) + 1
    never = folded_with_holes([(p, r) for p, r in kept_by_hand(log)[-1]])
    assert run(Records(log[:at])).state.digest() == plan.digest, "as it was planned"
    assert run(Records(log)).state.digest() == never.digest()
    gone = [*erased(log[: at - 1], user), *log[at - 1 :]]
    assert all(subject(record)[0] != user for _, record in gone[: at - 1])
    assert run(Records(gone)).state.digest() == never.digest(), "and once the records have left the log"
    assert run(Records(gone), cuts=(30, at, at + 1)).state.digest() == never.digest()


@settings(max_examples=examples(6))
@given(seed=st.integers(0, 2**32), of=st.integers(0, 19))
def test_an_erasure_equals_a_run_whose_log_never_had_the_user(make_stream, seed: int, of: int) -> None:
    """Not only with holes where the records were: the very log without them, positions counted anew."""
    user = f"u{of}"
    entries = both(make_stream, seed, 250)
    sieve = Sieve((Cut(users=(user_key(user),)),))
    kept = [(p, record) for p, record in entries if not sieve.removes(p, record)]
    assume(len(kept) < len(entries))
    act = erase_of(History(Records(entries), lambda _: None), user)
    state = run(Records([*erased(entries, user), (len(entries) + 1, act)])).state
    never = State(RULES, None)
    Fold(never).entries(list(enumerate((record for _, record in kept), start=1)))
    for (name, one), (_, other) in zip(state.canonical(), never.canonical(), strict=True):
        assert one.shape == other.shape, name
        if name in POSITIONS:
            assert np.array_equal(np.argsort(one, kind="stable", axis=0), np.argsort(other, kind="stable", axis=0))
        elif name != "frame.position":
            assert one.tobytes() == other.tobytes(), name


# On a real server, with an archive and snapshots ------------------------------------------------------------------

ERASE = """
import sys
from pathlib import Path
from online.archive import open_log
from online.erasure import finish_erasure
from online.history import History, artifacts_of
from online.log import connect
home, url, position = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
history = History(open_log(url, home), artifacts_of(home), snapshots=home / "snapshots")
history.scan(position)
finish_erasure(history, connect(url), position, home=home)
"""


def append(url: str, records: list[Record]) -> int:
    async def all_of_them() -> int:
        writer = LogWriter(url)
        await writer.start()
        position = await writer.append([encode(record) for record in records])
        await writer.close()
        return position

    return asyncio.run(all_of_them())


def haunted(n: int) -> list[Record]:
    """A log's records, one in ten of them the ghost's."""
    records: list[Record] = [Begin(1, "", RULES.seed, settings_text(RULES), 0)]
    for k in range(n):
        user = GHOST if k % 10 == 3 else f"u{k % 7}"
        records.append(Event(f"e{k}", "click", user, f"i{k * k % 30}", 1_700_000_000_000 + 1_000 * k, 0))
    return records


def home_with_ghost(home: Path, url: str) -> int:
    """A home whose log is half archived, all of it still in the stream, with snapshots; where its `erase` stands."""
    append(url, haunted(600))
    log = open_log(url, home)
    history = History(log, artifacts_of(home))
    for position in (200, 400, 601):
        place = history.state_at(position)
        write_snapshot(home / "snapshots", place.state, entry=b"", reason="t", counters={}, lineage=place.lineage)
    archive_until(log, 350, segment=100)
    position = append(url, [erase_of(history, GHOST)])
    log.close()
    return position


def history_of(home: Path, url: str) -> History:
    history = History(open_log(url, home), artifacts_of(home), snapshots=home / "snapshots")
    history.scan(history.reader.head())
    return history


def assert_nowhere(home: Path, log_folder: Path, url: str) -> None:
    """No record of the ghost in stream, archive and files; no snapshot that saw it."""
    log = open_log(url, home)
    log.archive.check()
    for read in (log.read, lambda after, count, _: log.archive.read(after, count)):
        after = 0
        while entries := read(after, 1_000, 0):
            assert not any(GHOST.encode() in payload for _, payload in entries)
            after = entries[-1][0]
    log.close()
    for path in [*home.rglob("*"), *log_folder.rglob("*")]:
        if path.is_file() and path.name != "server.log":
            assert GHOST.encode() not in path.read_bytes(), path
    assert not [s for s in list_snapshots(home / "snapshots") if s.lineage.last > 4 and len(s.lineage.segments) == 1]
    blobs = {s.file for s in list_snapshots(home / "snapshots")}
    others = {path.name for path in (home / "snapshots").iterdir() if path.is_file() and path.suffix != ".json"}
    assert others - {".lock", "erasures"} == blobs


def erase_and_compare(home: Path, url: str, place: str, passes: Iterable[int]) -> int:
    """Erase, killed at a place's k-th pass for each k of `passes`, and then whole; how often it died."""
    position = home_with_ghost(home, url)
    marker = home / "marker"
    died = 0
    for k in passes:
        marker.unlink(missing_ok=True)
        code = subprocess.run(
            [sys.executable, "-c", ERASE, str(home), url, str(position)],
            cwd=ROOT,
            env={**os.environ, **failpoint(place, k, marker)},
            check=False,
        ).returncode
        assert code in (0, -signal.SIGKILL)
        died += code != 0
        if code == 0:
            break
    marker.unlink(missing_ok=True)
    with connect(url) as client:
        receipt = finish_erasure(history_of(home, url), client, position, home=home)
        assert finish_erasure(history_of(home, url), client, position, home=home) == receipt, "nothing is left to do"
        log_folder = Path(client.config_get("dir")["dir"])
    assert_nowhere(home, log_folder, url)
    assert receipt == msgspec.json.decode((home / "receipts" / f"erase-{position}.json").read_bytes(), type=Receipt)
    assert receipt.erased_records == 60 and receipt.first_position == 5 and receipt.finished_ms
    never = State(RULES, None)
    seen = [(p, r) for p, r in enumerate(haunted(600), start=1) if getattr(r, "user_id", "") != GHOST]
    Fold(never).entries(seen, holes=True)
    assert receipt.state_digest_after == never.digest()
    assert history_of(home, url).state_at(position).state.digest() == never.digest()
    return died


@pytest.mark.parametrize("place", [name for name in NAMES if name.startswith(("erasure", "durable"))])
def test_an_erasure_that_is_broken_off_anywhere_is_finished_by_doing_it_again(
    tmp_path: Path, start_server: Callable[[Path], LogServer], place: str
) -> None:
    server = start_server(tmp_path / "log")
    assert erase_and_compare(tmp_path / "home", server.url, place, range(1, 6))


def test_a_manifest_that_cannot_be_read_keeps_no_blob_that_saw_the_user(
    tmp_path: Path, start_server: Callable[[Path], LogServer]
) -> None:
    server, home = start_server(tmp_path / "log"), tmp_path / "home"
    position = home_with_ghost(home, server.url)
    next((home / "snapshots").glob("*.json")).write_bytes(b"{")
    (home / "snapshots" / ".left-by-one-that-died.safetensors.7").write_bytes(b"half of a blob")
    with connect(server.url) as client:
        finish_erasure(history_of(home, server.url), client, position, home=home)
    assert_nowhere(home, tmp_path / "log", server.url)


def test_what_is_archived_while_a_user_is_erased_holds_none_of_their_records(
    tmp_path: Path, start_server: Callable[[Path], LogServer]
) -> None:
    server, home = start_server(tmp_path / "log"), tmp_path / "home"
    position = home_with_ghost(home, server.url)
    log = open_log(server.url, home)
    archiving = threading.Thread(target=archive_until, args=(log, 600), kwargs={"segment": 100})
    with alone_in(home / "archive"):  # as the erasure is, while it writes the segments anew
        archiving.start()
        archiving.join(0.3)
        assert archiving.is_alive() and log.archive.last == 300
    archiving.join()
    log.close()
    with connect(server.url) as client:
        finish_erasure(history_of(home, server.url), client, position, home=home)
    assert open_log(server.url, home).archive.last == 600
    assert_nowhere(home, tmp_path / "log", server.url)


def test_a_state_from_before_the_erasure_is_not_written_down_after_it(
    tmp_path: Path, start_server: Callable[[Path], LogServer]
) -> None:
    server, home = start_server(tmp_path / "log"), tmp_path / "home"
    position = home_with_ghost(home, server.url)
    place = history_of(home, server.url).state_at(500)  # as a copy of the learner that is slow
    with connect(server.url) as client:
        finish_erasure(history_of(home, server.url), client, position, home=home)
    with pytest.raises(SnapshotUnwanted, match=f"erasure at position {position}"):
        write_snapshot(home / "snapshots", place.state, entry=b"", reason="t", counters={}, lineage=place.lineage)
    assert_nowhere(home, tmp_path / "log", server.url)
    history = history_of(home, server.url)
    after = history.state_at(position)
    acts = history.lineages.acts
    write_snapshot(
        home / "snapshots", after.state, entry=b"", reason="t", counters={}, lineage=after.lineage, acts=acts
    )
