"""Laws of the comparison: every peer runs, none sees the future, ties and ranks are those of the replay."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.intervals import paired_interval
from benchmarks.peers.popularity import Popularity
from benchmarks.peers.recipes import SETS, recipes
from benchmarks.peers.stream import MISS, Stream, gains, hits, walk
from benchmarks.peers.tuning import tuned
from online.interactions import Interactions, read_interactions
from simulations.protocol import stream_start
from simulations.ranks import read_ranks
from simulations.replay import replay_stream

START_S = 1_600_000_000
NEEDS = {"implicit": "implicit", "river": "river"}


def made_up(folder: Path, rows: list[tuple[str, str, int]]) -> Interactions:
    path = folder / "interactions.csv"
    lines = [f"{user},{item},{START_S + second}" for user, item, second in rows]
    path.write_text("user_id,item_id,timestamp\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return read_interactions(path)


def pairs(events: int, *, users: int = 200, seed: int = 5) -> list[tuple[str, str, int]]:
    """Users take a title and then the one that goes with it, the way a rule could learn."""
    chance = np.random.default_rng(seed)
    rows: list[tuple[str, str, int]] = []
    for k in range(events // 2):
        user, title = int(chance.integers(users)), int(chance.integers(60))
        rows += [(f"u{user}", f"a{title}", 40 * k), (f"u{user}", f"b{title}", 40 * k + 20)]
    return rows


class Witness:
    """A peer that writes down what it is given, and when it is asked."""

    name = "witness"

    def __init__(self) -> None:
        self.learned: list[tuple[int, int]] = []
        self.asked: list[tuple[int, int]] = []  # rows learned by then, user

    def learn(self, user: np.ndarray, item: np.ndarray, at_ms: np.ndarray) -> None:
        self.learned += list(zip(user.tolist(), item.tolist(), strict=True))

    def score(self, user: int, at_ms: int, scores: np.ndarray) -> None:
        self.asked.append((len(self.learned), user))


@pytest.mark.parametrize("name", SETS)
def test_every_peer_of_a_set_goes_through_a_stream_and_can_be_tuned(tmp_path, name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    source = made_up(tmp_path, pairs(1_200))
    stream = Stream(source, 1_000, score_every=3, ties="together")
    found = {}
    for recipe in recipes({name}, refresh_s=3_600.0):
        # One value of each setting: the test is of the way, not of the choice.
        short = {setting: values[:1] for setting, values in recipe.tried.items()}
        narrow = replace(recipe, tried=short)
        settings, tries = tuned(narrow, source, 1_000, ties="together")
        assert set(settings) == set(recipe.start) | {key for key in short if key in settings}
        assert len(tries) <= 1 + recipe.rounds * len(short)
        walked = walk(recipe.peer(stream.size, **settings), stream)
        rank = walked.ranked.rank
        assert (rank >= MISS).sum() == walked.scored == 67
        found[recipe.name] = hits(rank[rank >= MISS]).mean()
    assert found
    if name == "neighbours":
        assert min(found.values()) > 0.4  # every second event goes with the one before it


def test_a_peer_is_given_the_past_and_nothing_else(tmp_path):
    source = made_up(tmp_path, pairs(200))
    stream = Stream(source, 150, score_every=1, ties="together")
    witness = Witness()
    walk(witness, stream)
    rows = list(zip(stream.source.user.tolist(), stream.source.item.tolist(), strict=True))
    assert [known for known, _ in witness.asked] == list(range(150, 200))
    assert witness.learned == rows[:199]  # what nobody is asked after is not needed
    assert [user for _, user in witness.asked] == [user for user, _ in rows[150:]]


def test_events_of_one_user_at_one_moment_are_ranked_before_any_of_them_is_learned(tmp_path):
    rows = [("u", "a", 1), ("w", "b", 2), ("v", "a", 20), ("w", "c", 20), ("v", "b", 20), ("v", "c", 21)]
    source = made_up(tmp_path, rows)
    together, apart = Witness(), Witness()
    walk(together, Stream(source, 2, score_every=1, ties="together"))
    walk(apart, Stream(source, 2, score_every=1, ties="file-order"))
    assert [known for known, _ in together.asked] == [2, 2, 4, 5]
    assert [known for known, _ in apart.asked] == [2, 3, 4, 5]


def test_a_future_that_is_different_changes_nothing_that_came_before(tmp_path):
    rows = pairs(600)
    other = rows[:560] + [(user, f"z{k}", second) for k, (user, _, second) in enumerate(rows[560:])]
    ranks = []
    for stream_rows in (rows, other):
        source = made_up(tmp_path, stream_rows)
        stream = Stream(source, 500, score_every=1, ties="together")
        for recipe in recipes({"popularity", "neighbours", "factors"}, refresh_s=0.0):
            if recipe.name.startswith("ISGD"):
                continue  # its first vectors are drawn for the file's number of items
            ranks.append((recipe.name, walk(recipe.peer(stream.size), stream).ranked.rank[:60].tolist()))
    half = len(ranks) // 2
    assert ranks[:half] == ranks[half:]


def test_an_item_that_nobody_has_taken_is_a_miss_and_ties_go_against_the_target(tmp_path):
    rows = [("u1", "a", 1), ("u2", "a", 2), ("u3", "b", 3), ("u4", "c", 4)]
    stream_rows = [("v", "c", 10), ("w", "d", 11), ("x", "d", 12), ("u1", "a", 13)]
    source = made_up(tmp_path, rows + stream_rows)
    stream = Stream(source, 4, score_every=1, ties="together")
    rank = walk(Popularity(stream.size, half_life_s=0.0), stream).ranked.rank
    # c ties with b and stands behind it; nobody had d; then d ties with b; u1 has a already.
    assert rank.tolist() == [3, MISS, 4, MISS]
    assert hits(rank).tolist() == [1.0, 0.0, 1.0, 0.0]
    assert gains(rank).tolist() == pytest.approx([0.5, 0.0, 1 / np.log2(5), 0.0])


def test_peers_and_the_replay_rank_the_same_events(tmp_path):
    source = made_up(tmp_path, pairs(400))
    first = stream_start(source, pretrain_share=0.8, stream_from_ms=None)
    written = tmp_path / "ranks.parquet"
    answer = replay_stream(source, first, None, score_every=3, results=written)
    row, ranks = read_ranks(written)
    stream = Stream(source, first, score_every=3, ties="together")
    walked = walk(Popularity(stream.size, half_life_s=0.0), stream)
    assert row.tolist() == np.flatnonzero(walked.ranked.rank >= MISS).tolist()
    assert set(ranks) == {"frozen", "frozen+state", "continued"}
    for variant, rank in ranks.items():
        assert round(hits(rank).mean(), 4) == answer["variants"][variant]["all"]["hr@10"]
        assert round(gains(rank).mean(), 4) == answer["variants"][variant]["all"]["ndcg@10"]


def test_the_interval_of_a_difference_draws_users(tmp_path):
    chance = np.random.default_rng(0)
    user = np.repeat(np.arange(100), 50)
    by_user = np.repeat(chance.normal(0.1, 1.0, 100), 50)  # a user's events all alike: 100 facts, not 5,000
    mean, low, high = paired_interval(by_user, user)
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * by_user[::50].std() / 10, rel=0.15)


def test_one_command_compares(tmp_path):
    made_up(tmp_path, pairs(400))
    command = [sys.executable, "-m", "benchmarks.peers", "--interactions", str(tmp_path / "interactions.csv")]
    command += ["--peers", "popularity", "--score-every", "2", "--out", str(tmp_path / "out")]
    nothing = subprocess.run([*command[:3]], capture_output=True, text=True, check=True)
    assert "nothing to compare on" in nothing.stdout
    pytest.importorskip("torch")
    artifact = trained(tmp_path)
    told = subprocess.run([*command, "--artifact", str(artifact)], capture_output=True, text=True, check=True).stdout
    assert "popularity, half-life 1 h" in told
    report = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    _, ranks = read_ranks(tmp_path / "out" / "ranks.parquet")
    mine, theirs = hits(ranks["perennial"]), hits(ranks["popularity, half-life 1 h"])
    difference = report["peers"]["popularity, half-life 1 h"]["perennial_less_it"]["hr@10"]
    assert difference[0] == round(float((mine - theirs).mean()), 4)
    assert report["perennial"]["continued"]["all"]["hr@10"] == round(float(mine.mean()), 4)


def trained(folder: Path) -> Path:
    from batch.train import pretrain

    until_ms = (START_S + 40 * 160) * 1000
    pretrain(folder / "interactions.csv", folder / "artifact", device="cpu", until_ms=until_ms, quiet=True, epochs=1)
    return folder / "artifact"
