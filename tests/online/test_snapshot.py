"""Snapshots: differences on top of each other give the state back; a byte that is not what was written is refused."""

import json
import os
import random
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from online.fold import Fold
from online.history import History
from online.lineage import Lineage
from online.records import Begin
from online.retention import APART, DAY_MS, HOUR_MS, ROOM, kept, remove, remove_old
from online.settings import Settings, settings_text
from online.snapshot import (
    DEPTH_MAX,
    FORMAT,
    Snapshot,
    SnapshotCorrupt,
    SnapshotForeign,
    find_snapshot,
    list_snapshots,
    load_snapshot,
    newest_first,
    read_manifest,
    relabel,
    write_snapshot,
)
from online.state import State
from tests.online.records_in_memory import Records

RULES = Settings(
    attribution_window_s=600, event_ids_max=64, decisions_max=32, slots_max=800, users_max=64, items_max=400
)
MUTATIONS = int(os.environ.get("PERENNIAL_MUTATIONS", "100"))
FIRST = int(os.environ.get("PERENNIAL_FIRST", "0"))
PLACES = [40, 90, 150, 230, 300]


def chain(make_stream, folder: Path, seed: int, places: list[int], length: int = 300) -> list[tuple[Snapshot, str]]:
    """Snapshots of one state at several places, and the digest that it had there."""
    entries = make_stream(seed, length, RULES, users=40, items=300)
    state, taken, before = State(RULES, None), [], 0
    fold = Fold(state)
    for place in sorted(set(places)):
        fold.entries(entries[before:place])
        before = place
        taken.append((write_snapshot(folder, state, entry=b"", reason="a test", counters={}), state.digest()))
    return taken


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32), places=st.lists(st.integers(1, 300), min_size=2, max_size=14))
def test_differences_on_top_of_each_other_give_every_state_back(
    make_stream, tmp_path_factory, seed: int, places: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("snapshots")
    for snapshot, digest in chain(make_stream, folder, seed, places):
        assert load_snapshot(folder, find_snapshot(folder, snapshot.id), None).digest() == digest
        assert snapshot.depth <= DEPTH_MAX


def test_what_did_not_change_costs_nothing_and_a_little_costs_a_little(make_stream, folded, tmp_path: Path) -> None:
    roomy = Settings(attribution_window_s=600)
    entries = make_stream(3, 4_000, roomy, users=900, items=900)
    state = folded(roomy, entries[:3_960])
    whole = write_snapshot(tmp_path, state, entry=b"", reason="a test", counters={})
    users = len({r.user_id for _, r in entries[:3_960] if hasattr(r, "user_id")})
    moved = len({r.user_id for _, r in entries[3_960:] if hasattr(r, "user_id")})
    assert moved < 0.05 * users
    Fold(state).entries(entries[3_960:])
    little = write_snapshot(tmp_path, state, entry=b"", reason="a test", counters={})
    assert little.base == little.parent == whole.id
    assert little.bytes < 0.05 * whole.bytes, (little.bytes, whole.bytes)


def mutate(folder: Path, chance: random.Random) -> tuple[Path, str]:
    """Spoil one file of a folder of snapshots, somehow; which one, and what was done."""
    files = sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")])
    path = chance.choice(files)
    content = bytearray(path.read_bytes())
    match chance.randrange(7):
        case 0:
            at = chance.randrange(len(content))
            content[at] ^= 1 << chance.randrange(8)
            said = f"bit of byte {at} of {path.name}"
        case 1:
            del content[chance.randrange(len(content)) :]
            said = f"{path.name} cut to {len(content)} bytes"
        case 2:
            content += bytes(chance.randrange(1, 99))
            said = f"zeros behind {path.name}"
        case 3:
            at = chance.randrange(len(content))
            end = min(len(content), at + chance.randrange(1, 4_096))
            if content[at:end] == bytes(end - at):
                content[at] = 1
            else:
                content[at:end] = bytes(end - at)
            said = f"zeros inside {path.name}"
        case 4:
            other = chance.choice([file for file in files if file.suffix == path.suffix and file != path])
            content = bytearray(other.read_bytes())
            said = f"{other.name} in the place of {path.name}"
        case 5:
            path.unlink()
            return path, f"{path.name} gone"
        case _:
            path = chance.choice(sorted(folder.glob("*.json")))
            told = json.loads(path.read_bytes())
            name = chance.choice(sorted(set(told) - {"label", "reason", "created_ms"}))
            told[name] = {int: 7, str: "0" * 16, bool: True, list: [], dict: {}}[type(told[name])]
            if json.loads(path.read_bytes()) == told:
                told[name] = {int: 9, str: "f" * 16, bool: False, list: [1], dict: {"a": "b"}}[type(told[name])]
            content = bytearray(json.dumps(told).encode())
            said = f"another {name} in {path.name}"
    path.write_bytes(content)
    return path, said


def refused_by_name(folder: Path, found: Snapshot | SnapshotCorrupt | SnapshotForeign, digest: str) -> bool:
    """Whether a snapshot is refused, and says which file and why; one that is not has the digest that it had."""
    error = found
    if isinstance(found, Snapshot):
        try:
            state = load_snapshot(folder, found, None)
        except (SnapshotCorrupt, SnapshotForeign) as refused:
            error = refused
        else:
            assert state.digest() == digest and state.position == found.position
            return False
    if isinstance(error, SnapshotCorrupt):
        assert error.expected and error.actual and error.expected != error.actual
        assert error.path.parent == folder
    else:  # it, or what it builds on, says that it is of another format
        assert str(folder) in str(error) and "format" in str(error)
    return True


def test_whatever_is_spoilt_is_refused_by_name_and_the_last_good_one_is_used(make_stream, tmp_path: Path) -> None:
    """PERENNIAL_MUTATIONS of them, from number PERENNIAL_FIRST on: each spoils one file of five snapshots, differences
    among them. Whatever the file belongs to is loaded, and the newest of those that it does not belong to."""
    taken = {snapshot.id: (snapshot, digest) for snapshot, digest in chain(make_stream, tmp_path, 8, PLACES)}
    clean = {path: path.read_bytes() for path in [*tmp_path.glob("*.json"), *tmp_path.glob("*.safetensors")]}
    needs: dict[str, set[Path]] = {}
    for one, (snapshot, _) in taken.items():
        base = needs[snapshot.base] if snapshot.base else set()
        needs[one] = base | {tmp_path / f"{one}.json", tmp_path / snapshot.file}
    assert max(snapshot.depth for snapshot, _ in taken.values()) > 1 and len(clean) == 2 * len(PLACES)
    refused = gone = used = 0
    for number in range(FIRST, FIRST + MUTATIONS):
        path, said = mutate(tmp_path, random.Random(f"mutation {number}"))
        hit = {one for one, files in needs.items() if path in files}
        count, good = 0, None
        for found in newest_first(tmp_path):
            known = isinstance(found, Snapshot) and found.id in taken
            if known and found.id not in hit:
                good = good or found
                continue
            assert refused_by_name(tmp_path, found, taken[found.id][1] if known else ""), f"{number}: {said}"
            count += 1
        assert count == len(hit) - (not path.exists() and path.suffix == ".json"), f"{number}: {said}"
        if good is not None:
            assert not refused_by_name(tmp_path, good, taken[good.id][1]), f"{number}: {said}"
        assert (good is None) == (len(hit) == len(taken)), f"{number}: {said}"
        refused, gone, used = refused + count, gone + (count == 0), used + (good is not None)
        path.write_bytes(clean[path])
    assert all(path.read_bytes() == content for path, content in clean.items())
    print(
        f"mutations {FIRST} to {FIRST + MUTATIONS - 1}: {refused} snapshots refused by name, 0 loaded, a good one used "
        f"{used} times; {gone} manifests that nothing is built on were simply gone"
    )


def test_a_byte_of_a_manifest_that_says_nothing_is_refused_too(make_stream, tmp_path: Path) -> None:
    """A name within the lineage that nobody knows, where what it names is what there would be without it."""
    one = chain(make_stream, tmp_path, 8, [40])[0][0]
    path = tmp_path / f"{one.id}.json"
    content = path.read_bytes()
    for spoilt in (
        content.replace(b'"pricing_id":', b'"pricing_ie":'),
        content + b" ",
        content.replace(b":", b": ", 1),
    ):
        assert spoilt != content
        path.write_bytes(spoilt)
        with pytest.raises(SnapshotCorrupt, match="as it is written, found another byte"):
            read_manifest(path)
    path.write_bytes(content)
    assert read_manifest(path) == one


def test_a_spoilt_snapshot_is_passed_over_and_the_way_is_longer(make_stream, tmp_path: Path) -> None:
    entries = make_stream(8, 300, RULES, users=40, items=300)
    log = Records(entries)
    taken = chain(make_stream, tmp_path, 8, [100, 200])
    blob = tmp_path / taken[1][0].file
    blob.write_bytes(blob.read_bytes()[:-1])
    history = History(log, lambda _: None, snapshots=tmp_path)
    place = history.state_at(250)
    assert place.snapshot is not None and place.snapshot.id == taken[0][0].id
    assert len(history.passed_over) == 1 and taken[1][0].blake3 in history.passed_over[0]
    assert place.state.digest() == History(log, lambda _: None).state_at(250).state.digest()


def test_a_label_keeps_a_snapshot_and_what_it_is_built_on(make_stream, tmp_path: Path) -> None:
    taken = [snapshot for snapshot, _ in chain(make_stream, tmp_path, 4, [50, 100, 150, 200, 250])]
    labelled = relabel(tmp_path, taken[1].id, "last good")
    assert load_snapshot(tmp_path, labelled, None).position == 100
    removed = {snapshot.id for snapshot in remove_old(tmp_path, newest=1)}
    left = {snapshot.id: snapshot for snapshot in list_snapshots(tmp_path)}
    needed = {taken[1].id, taken[4].id}
    for one in list(needed):
        while left[one].base:
            one = left[one].base
            needed.add(one)
    assert {taken[1].id, taken[4].id} <= set(left) and not removed & needed
    for snapshot in left.values():
        assert load_snapshot(tmp_path, snapshot, None).position == snapshot.position


def test_of_older_snapshots_one_an_hour_and_one_a_day_are_kept(make_stream, tmp_path: Path) -> None:
    one = chain(make_stream, tmp_path, 4, [50])[0][0]

    def at(minutes: int, **more: object) -> Snapshot:
        ms = 1_000 * DAY_MS - minutes * 60_000
        return msgspec.structs.replace(one, id=f"s{minutes}", created_ms=ms, base="", **more)

    every_ten = [at(10 * k) for k in range(6 * 24 * 4)]  # four days
    left = kept(every_ten, newest=8)
    assert {f"s{10 * k}" for k in range(8)} <= left
    hours = HOUR_MS // 60_000
    assert 8 + 22 <= len(left) <= 8 + 24 + 4
    assert len([s for s in left if int(s[1:]) > 24 * hours]) <= 4
    assert "s5000" in kept([*every_ten, at(5_000, label="kept")], newest=1)
    assert "s4" in kept([at(0), at(4, planned=True)], newest=1)
    assert "s400" not in kept([at(0), at(400, planned=True)], newest=1)


def test_the_way_to_any_of_the_last_ten_million_records_is_short(make_stream, tmp_path: Path) -> None:
    """However a busy service's snapshots fall into hours: removed one round after the other, as it goes on."""
    one = chain(make_stream, tmp_path, 4, [50])[0][0]
    chance = random.Random(4)
    there: list[Snapshot] = []
    position = 0
    for number in range(400):  # minutes apart, by time alone all but a few of them would go
        position += chance.randrange(20_000, 60_000)
        made = msgspec.structs.replace(
            one, id=f"s{number}", position=position, created_ms=1_000 * DAY_MS + number * 60_000, base=""
        )
        there.append(made)
        left = kept(there)
        there = [snapshot for snapshot in there if snapshot.id in left]
    places = [snapshot.position for snapshot in there]
    recent = [place for place in places if place > position - 10_000_000]
    assert position > 14_000_000 and recent[0] - (position - 10_000_000) < APART
    assert max(later - earlier for earlier, later in pairwise(recent)) <= APART
    assert len(there) < 2 * 10_000_000 / APART + 8 + 24 + 4, "and no more are kept than that takes"
    large = [msgspec.structs.replace(snapshot, bytes=ROOM // 10) for snapshot in there]
    assert len(kept(large)) <= 10 + 8 + 24 + 4 and {s.id for s in large[-18:]} <= kept(large), (
        "nor more than there is room"
    )


def test_a_snapshot_of_another_format_is_told_from_a_broken_one(tmp_path: Path) -> None:
    (tmp_path / "0123456789abcdef.json").write_text('{"format": 1, "id": "0123456789abcdef"}')
    (tmp_path / "1123456789abcdef.json").write_text("{")
    kinds = {type(found) for found in newest_first(tmp_path)}
    assert kinds == {SnapshotForeign, SnapshotCorrupt}


def of_format(folder: Path, one: Snapshot, number: int, label: str) -> Path:
    """As another version might have written it, with a blob of its own."""
    blob = (folder / one.file).read_bytes() + b" "
    told = msgspec.to_builtins(one) | {"format": number, "id": f"{number:016x}", "label": label, "root": ""}
    told["file"] = f"{blake3(blob).hexdigest()}.safetensors"
    (folder / told["file"]).write_bytes(blob)
    told["root"] = blake3(msgspec.json.encode(told, order="sorted")).hexdigest()
    path = folder / f"{told['id']}.json"
    path.write_bytes(msgspec.json.encode(told, order="sorted"))
    return path


def test_snapshots_of_an_earlier_format_are_refused_with_a_cure_and_go_where_there_is_one_of_this(
    make_stream, tmp_path: Path
) -> None:
    taken = [snapshot for snapshot, _ in chain(make_stream, tmp_path, 4, [50, 100])]
    older, newer = (of_format(tmp_path, taken[0], number, "") for number in (FORMAT - 1, FORMAT + 1))
    with pytest.raises(SnapshotForeign, match=f"format {FORMAT - 1}.*--to-position 50"):
        find_snapshot(tmp_path, older.stem)
    assert remove_old(tmp_path) == [] and not older.exists() and newer.exists()
    assert len(list(tmp_path.glob("*.safetensors"))) == 3, "of the newer format the blob stays, too"
    older = of_format(tmp_path, taken[0], FORMAT - 1, "")
    spoilt = older.read_bytes().replace(b"a test", b"a tost")
    older.write_bytes(spoilt)
    remove_old(tmp_path)
    assert older.read_bytes() == spoilt, "one that is broken is for somebody to look at"
    named = of_format(tmp_path, taken[0], FORMAT - 2, "kept")
    older = of_format(tmp_path, taken[0], FORMAT - 1, "")
    remove_old(tmp_path)
    assert named.exists() and older.exists(), (
        "where somebody has named one, those that it is built on may be among them"
    )
    for path in tmp_path.glob("*.json"):
        if path not in (named, older):
            path.unlink()
    relabelled = of_format(tmp_path, taken[0], FORMAT - 2, "")
    remove_old(tmp_path)
    assert relabelled.exists() and older.exists(), "and where there is none of this format"


def test_a_planned_snapshot_is_another_one_than_that_of_the_log(make_stream, folded, tmp_path: Path) -> None:
    entries = make_stream(4, 100, RULES)
    assert isinstance(entries[0][1], Begin) and settings_text(RULES)
    state = folded(RULES, entries)
    lineage = Lineage("").grown(1, 100)
    real = write_snapshot(tmp_path, state, entry=b"e", reason="a test", counters={}, lineage=lineage, label="kept")
    plan = write_snapshot(tmp_path, state, entry=b"", reason="plan", counters={}, lineage=lineage, planned=True)
    again = write_snapshot(tmp_path, state, entry=b"e", reason="schedule", counters={}, lineage=lineage)
    assert plan.id != real.id == again.id
    assert again.label == "kept"
    with pytest.raises(SnapshotCorrupt):
        (tmp_path / f"{plan.id}.json").write_bytes((tmp_path / f"{real.id}.json").read_bytes())
        find_snapshot(tmp_path, plan.id)


def test_a_blob_where_an_earlier_version_wrote_it_is_read_built_on_and_cleared_away(
    make_stream, folded, tmp_path: Path
) -> None:
    entries = make_stream(5, 900, RULES, users=90, items=90)
    state = folded(RULES, entries[:600])
    told = write_snapshot(tmp_path, state, entry=b"", reason="a test", counters={})
    (tmp_path / "blobs").mkdir()
    (tmp_path / told.file).rename(tmp_path / "blobs" / told.file)
    moved = msgspec.structs.replace(told, file=f"blobs/{told.file}", root="")
    moved = msgspec.structs.replace(moved, root=blake3(msgspec.json.encode(moved, order="sorted")).hexdigest())
    (tmp_path / f"{told.id}.json").write_bytes(msgspec.json.encode(moved, order="sorted"))
    assert load_snapshot(tmp_path, find_snapshot(tmp_path, told.id), None).digest() == state.digest()
    Fold(state).entries(entries[600:])
    later = write_snapshot(tmp_path, state, entry=b"", reason="a test", counters={})
    assert later.base == told.id and "/" not in later.file
    assert load_snapshot(tmp_path, later, None).digest() == state.digest()
    remove(tmp_path, [])
    assert (tmp_path / moved.file).exists() and (tmp_path / later.file).exists()
    remove(tmp_path, [moved, later])
    assert not list(tmp_path.rglob("*.safetensors"))
