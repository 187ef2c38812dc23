"""Laws of the replay: what is ranked when, against what, and what may be known by then."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from online.interactions import read_interactions
from simulations.protocol import NothingToReplay, in_groups, stream_start
from simulations.ranking import gini
from simulations.replay import replay_stream

START_S = 1_600_000_000


def written(folder: Path, rows: list[tuple[str, str, int]]) -> Path:
    path = folder / "interactions.csv"
    lines = [f"{user},{item},{START_S + second}" for user, item, second in rows]
    path.write_text("user_id,item_id,timestamp\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


# Nine users take a (5 times), b (3) and c (once): that is the order of popularity, and nobody took two things.
BATCH = [(f"u{k}", item, k) for k, item in enumerate("aaaaabbbc")]


def replayed(folder: Path, rows: list[tuple[str, str, int]], **options: Any) -> dict[str, Any]:
    source = read_interactions(written(folder, rows))
    return replay_stream(source, len(BATCH), None, **options)


def test_ranks_are_those_of_the_catalogue_known_by_then(tmp_path: Path) -> None:
    stream = [
        ("v1", "a", 20),  # first of three
        ("v2", "c", 21),  # third of three
        ("v3", "d", 22),  # nobody has seen it: a miss
        ("v4", "d", 23),  # known since a second
    ]
    found = replayed(tmp_path, [*BATCH, *stream])
    continued, frozen = found["variants"]["continued"], found["variants"]["frozen"]
    assert (found["events"], found["pretrain_events"]) == (4, 9)
    assert continued["all"]["n"] == 4
    assert continued["all"]["hr@10"] == 0.75
    assert continued["new_items"] == {
        "n": 2,
        "hr@10": 0.5,
        "ndcg@10": pytest.approx(0.5 / np.log2(5), abs=0.2),
        "mrr": pytest.approx(0.17, abs=0.09),
    }
    assert continued["known_items"]["mrr"] == round((1 + 1 / 3) / 2, 4)
    # The frozen parameters know nothing of d, which therefore stands behind all others: fourth of four.
    assert frozen["new_items"]["mrr"] == round(0.25 / 2, 4)
    assert frozen["returning_users"]["n"] == 0


def test_what_the_user_has_taken_is_left_out_and_a_repeat_is_a_miss(tmp_path: Path) -> None:
    stream = [("u0", "b", 20), ("u1", "a", 21)]  # u0 and u1 have taken a
    found = replayed(tmp_path, [*BATCH, *stream])
    assert found["variants"]["frozen"]["all"] == {"n": 2, "hr@10": 0.5, "ndcg@10": 0.5, "mrr": 0.5}
    kept = replayed(tmp_path, [*BATCH, *stream], include_seen=True)
    assert kept["variants"]["frozen"]["all"]["hr@10"] == 1.0


def test_events_of_one_user_at_one_moment_are_all_ranked_before_any_is_learned(tmp_path: Path) -> None:
    # b right after a, in one second: ranked together, v has taken nothing yet, and both stand where popularity says.
    stream = [("v", "a", 20), ("w", "c", 20), ("v", "b", 20)]
    found = replayed(tmp_path, [*BATCH, *stream])
    assert found["variants"]["frozen+state"]["all"]["mrr"] == round((1 + 1 / 2 + 1 / 3) / 3, 4)
    apart = replayed(tmp_path, [*BATCH, *stream], ties="file-order")
    # One by one, a is out of the way when b is ranked.
    assert apart["variants"]["frozen+state"]["all"]["mrr"] == round((1 + 1 + 1 / 3) / 3, 4)


def test_groups_keep_the_files_order_inside_and_among_them(tmp_path: Path) -> None:
    source = read_interactions(written(tmp_path, [("v", "a", 1), ("w", "c", 1), ("v", "b", 1), ("x", "a", 2)]))
    grouped = in_groups(source, 0)
    assert [source.item_ids[code] for code in grouped.item] == ["a", "b", "c", "a"]


def a_stream(events: int) -> list[tuple[str, str, int]]:
    chance = np.random.default_rng(3)
    rows = [(f"u{chance.integers(30)}", f"i{chance.zipf(1.5) % 40}", 30 + 7 * k) for k in range(events)]
    return [*BATCH, *rows]


def test_how_much_is_scored_does_not_touch_what_is_learned(tmp_path: Path) -> None:
    all_scored = replayed(tmp_path, a_stream(300))
    some_scored = replayed(tmp_path, a_stream(300), score_every=7)
    assert all_scored["state_digest"] == some_scored["state_digest"]
    assert some_scored["variants"]["continued"]["all"]["n"] == 43


def test_parameters_that_are_refreshed_late_end_in_the_same_state(tmp_path: Path) -> None:
    at_once = replayed(tmp_path, a_stream(300))
    lagging = replayed(tmp_path, a_stream(300), refresh_every_s=200.0)
    assert at_once["state_digest"] == lagging["state_digest"]
    never = replayed(tmp_path, a_stream(300), refresh_every_s=1e6)
    assert never["variants"]["continued"]["all"] == at_once["variants"]["frozen+state"]["all"]


def test_a_split_by_share_never_cuts_a_moment_in_two_and_needs_both_sides(tmp_path: Path) -> None:
    source = read_interactions(written(tmp_path, [("a", "x", 1), ("b", "x", 2), ("c", "x", 2), ("d", "x", 3)]))
    assert stream_start(source, pretrain_share=0.5, stream_from_ms=None) == 1
    with pytest.raises(NothingToReplay, match="4 events before and 0 after"):
        stream_start(source, pretrain_share=0.5, stream_from_ms=(START_S + 60) * 1000)


def test_gini_tells_equal_from_unequal() -> None:
    assert gini(np.array([2, 2, 2])) == 0.0
    assert gini(np.array([0, 0, 0, 8])) == 0.75
