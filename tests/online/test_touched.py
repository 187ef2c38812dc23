"""What a snapshot of noted rows alone holds is what the state held: the fold's journals leave nothing out."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online.delta import difference, patched
from online.fold import Fold
from online.hash_tree import DIGEST, TreeUnreadable, leaves, read_tree, renewed, root, tree_of, written
from online.journal import taken
from online.packing import BLOCK, Packing, packings, rows_per_block
from online.settings import Settings
from online.snapshot import find_snapshot, load_arrays, load_snapshot, write_snapshot
from online.state import State
from online.tables import Arrays
from online.touched import PIECES_MAX, Touched

RULES = Settings(attribution_window_s=600, event_ids_max=64, decisions_max=32, slots_max=800)


def noted(state: State, since: int, generation: int, touched: Touched | None = None) -> Touched:
    """What the journals say, as the publisher hands it on."""
    touched = touched or Touched(since)
    rows = {name: taken(journal) for name, journal in state.journals().items()}
    touched.note(rows if state.generation == generation else dict.fromkeys(rows))
    return touched


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), places=st.lists(st.integers(1, 400), min_size=2, max_size=9))
def test_a_snapshot_of_the_noted_rows_is_the_whole_state(
    make_stream, tmp_path_factory, seed: int, places: list[int]
) -> None:
    """Every row that differs between two places stands in a journal, bit by bit, whatever the records were."""
    folder = tmp_path_factory.mktemp("snapshots")
    entries = make_stream(seed, 400, RULES, users=40, items=300)
    state, at, looked_at = State(RULES, None), 0, 0
    fold = Fold(state)
    for place in sorted(set(places)):
        generation, touched = state.generation, Touched(at, state.arrays)
        fold.entries(entries[at:place])
        noted(state, at, generation, touched)
        looked_at += touched.known and at > 0
        at = place
        snapshot = write_snapshot(folder, state, entry=b"", reason="a test", counters={}, touched=touched)
        assert snapshot.state_digest == state.digest(), "the tree kept up to date is the tree taken at once"
        assert load_snapshot(folder, find_snapshot(folder, snapshot.id), None).digest() == state.digest()


def test_a_row_that_nobody_noted_is_missed_and_seen_by_whoever_folds_again(make_stream, tmp_path: Path) -> None:
    """The test above has teeth: without its note a row stays behind, and the digest of the snapshot is another."""
    entries = make_stream(3, 400, RULES, users=40, items=300)
    state = State(RULES, None)
    Fold(state).entries(entries)
    noted(state, 0, -1)
    write_snapshot(tmp_path, state, entry=b"", reason="a test", counters={}, touched=None)
    quiet = Touched(state.position)
    quiet.note(dict.fromkeys(state.journals(), np.zeros(0, np.int32)))
    state.arrays["users.budget"][3] += 1.0
    state.views.frame.position[0] += 1
    snapshot = write_snapshot(tmp_path, state, entry=b"", reason="a test", counters={}, touched=quiet)
    assert snapshot.state_digest != state.digest()


def test_who_changes_a_row_changes_one_block_however_many_columns_there_are(make_stream) -> None:
    state = State(RULES, None)
    Fold(state).entries(make_stream(4, 400, RULES, users=40, items=300))
    before = tree_of(dict(state.canonical()))
    for name in ("users.hidden", "users.ring_at_ms", "users.budget", "users.taken", "users.query"):
        state.arrays[name][7] += 1
    after = tree_of(dict(state.canonical()))
    assert [name for name in before if before[name] != after[name]] == ["users"]
    was, now = (np.frombuffer(tree["users"].digests, np.uint64).reshape(-1, DIGEST // 8) for tree in (before, after))
    assert len(was) > 5 and (was != now).any(axis=1).sum() == 1


@pytest.mark.parametrize("how", ["gone", "cut", "another", "bit"])
def test_a_tree_that_is_not_this_digests_is_not_built_on(make_stream, tmp_path: Path, how: str) -> None:
    entries = make_stream(4, 500, RULES, users=40, items=300)
    state = State(RULES, None)
    Fold(state).entries(entries[:400])
    base = write_snapshot(tmp_path, state, entry=b"", reason="a test", counters={})
    path = tmp_path / "trees" / base.state_digest
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    match how:
        case "gone":
            path.unlink()
        case "cut":
            path.write_bytes(content[:-100])
        case "another":
            path.write_bytes(written(tree_of({"a.b": np.arange(9)})))
        case _:
            path.write_bytes(content)
    generation = state.generation
    noted(state, 0, generation)
    Fold(state).entries(entries[400:])
    touched = noted(state, 400, generation)
    after = write_snapshot(tmp_path, state, entry=b"", reason="a test", counters={}, touched=touched)
    assert after.base == base.id
    assert load_snapshot(tmp_path, after, None).digest() == state.digest()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_blocks_that_are_renewed_are_the_blocks_of_the_whole(seed: int) -> None:
    chance = np.random.Generator(np.random.Philox(key=seed))
    width, count = int(chance.integers(1, 700)), int(chance.integers(1, 400))

    def rows(many: int) -> Arrays:
        return {"a.wide": chance.integers(0, 99, (many, width)).astype(np.float32), "a.x": chance.integers(0, 9, many)}

    before = rows(count)
    known = leaves(Packing(before))
    new = rows(int(chance.integers(0, 50)))
    after = {name: np.concatenate([before[name], new[name]]) for name in before}
    moved = np.unique(chance.integers(0, count, 5))
    after["a.wide"][moved] += chance.integers(0, 2, (len(moved), 1)).astype(np.float32)
    after["a.x"][moved] += chance.integers(0, 2, len(moved))
    noted = np.concatenate([moved, np.arange(count, len(after["a.x"]))])
    found, written = renewed(known, Packing(after), noted)
    assert found == leaves(Packing(after))
    per = Packing(after).per
    differ = {  # as blocks
        k for k in range(len(found.digests) // 32) if known.digests[32 * k :][:32] != found.digests[32 * k :][:32]
    }
    assert written.tolist() == [row for row in noted.tolist() if row // per in differ]
    assert {row for row in moved.tolist() if after["a.x"][row] != before["a.x"][row]} <= set(written.tolist())
    again, all_of_them = renewed(known, Packing(after), None)
    assert again == found
    assert all_of_them.tolist() == [row for row in range(found.rows) if row // per in differ]


def test_a_tree_is_read_back_only_under_its_own_digest() -> None:
    arrays = {"a.b": np.arange(5_000), "c.d": np.zeros((0, 3), np.float32)}
    tree = tree_of(arrays)
    digest = root("artifact", tree)
    assert read_tree(written(tree), "artifact", digest) == tree
    assert root("artifact", tree_of({"a.b": np.arange(5_000), "c.d": np.zeros((0, 4), np.float32)})) != digest
    with pytest.raises(TreeUnreadable):
        read_tree(written(tree), "another", digest)
    assert rows_per_block(BLOCK + 1) == 1 and rows_per_block(BLOCK) == 1 and rows_per_block(1) == BLOCK


def test_a_difference_that_does_not_fit_its_base_is_refused() -> None:
    before = {"a.b": np.arange(9_000), "a.c": np.zeros((9_000, 2), np.float32), "b.x": np.arange(3), "c.y": np.zeros(1)}
    assert packings(before).keys() == {"a", ""}
    rows = {"a|rows": np.array([2, 9_001], np.uint32)}
    after = patched(before, rows | {"a|values": np.ones(32, np.uint8)})
    assert after["a.b"].shape == (9_002,) and after["a.c"].shape == (9_002, 2)
    assert after["a.c"][2].tobytes() == bytes([1] * 8) and after["a.c"][3].tobytes() == bytes(8)
    after = patched(before, {"|rows": np.zeros(1, np.uint32), "|values": np.arange(32, dtype=np.uint8)})
    assert after["b.x"].tobytes() + after["c.y"].tobytes() == bytes(range(32)) and after["b.x"].shape == (3,)
    for shape in (31, 33, 16, (2, 16)):
        with pytest.raises(ValueError, match=r"for 2 rows of a\.b, a\.c"):
            patched(before, rows | {"a|values": np.ones(shape, np.uint8)})
    with pytest.raises(KeyError):
        patched(before, {"b|rows": rows["a|rows"], "b|values": np.ones(32, np.uint8)})
    with pytest.raises(KeyError):
        patched(before, {"a|values": np.ones(32, np.uint8)})


def test_what_was_noted_in_many_pieces_is_one_set_of_rows() -> None:
    chance, wanted, touched = random.Random(1), set(), Touched(0)
    for _ in range(3 * PIECES_MAX):
        rows = [chance.randrange(1_000) for _ in range(3)]
        wanted |= set(rows)
        touched.note({"users": np.array(rows, np.int32), "items": np.zeros(0, np.int32)})
    found = touched.rows("users")
    assert found is not None and found.tolist() == sorted(wanted)
    assert touched.rows("items").tolist() == [] and touched.rows("claims") is None  # type: ignore[union-attr]
    later = Touched(9)
    later.note({"users": np.array([5_000], np.int32)})
    both = later.joined(touched)
    assert both.since == 0 and both.rows("users").tolist() == [*sorted(wanted), 5_000]  # type: ignore[union-attr]
    later.note({"users": None})
    assert not later.joined(touched).known and later.rows("users") is None


def test_differences_by_tree_and_by_comparing_give_the_same_arrays(make_stream, tmp_path: Path) -> None:
    entries = make_stream(5, 500, RULES, users=40, items=300)
    state = State(RULES, None)
    Fold(state).entries(entries[:450])
    noted(state, 0, state.generation)
    generation = state.generation
    base = write_snapshot(tmp_path, state, entry=b"", reason="a test", counters={})
    before = load_arrays(tmp_path, base)
    touched = Touched(450, state.arrays)
    Fold(state).entries(entries[450:])
    after = {name: np.ascontiguousarray(array) for name, array in state.canonical()}
    whole = patched(before, difference(before, after))
    noted(state, 450, generation, touched)
    assert touched.known, "rows are known, so the arrays are not compared"
    snapshot = write_snapshot(tmp_path, state, entry=b"", reason="a test", counters={}, touched=touched)
    assert snapshot.base == base.id
    found = load_arrays(tmp_path, snapshot)
    assert found.keys() == whole.keys()
    assert all(found[name].tobytes() == whole[name].tobytes() for name in whole)
