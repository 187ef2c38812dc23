"""Laws of the ladder: its ends are the replay's own variants, and a rung hands over what it names."""

from pathlib import Path

import numpy as np

from benchmarks.peers.ladder import LAGS, RUNGS, aged, climbed
from benchmarks.peers.lag_plot import lag_plot
from online.interactions import read_interactions
from online.recommendation.layout import LEARNER_COLUMNS
from simulations.protocol import Protocol, in_groups
from simulations.replay import lived_batch, replay_stream


def a_file(folder: Path) -> Path:
    chance = np.random.default_rng(2)
    rows = [f"u{chance.integers(30)},i{chance.zipf(1.5) % 40},{1_600_000_000 + 7 * k}" for k in range(500)]
    path = folder / "interactions.csv"
    path.write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_the_ends_of_ladder_and_lags_are_the_variants_of_the_replay(tmp_path):
    source, first = read_interactions(a_file(tmp_path)), 300
    late = replay_stream(source, first, None, refresh_every_s=60.0)["variants"]
    at_once = replay_stream(source, first, None, variants=("continued",))["variants"]
    grouped = in_groups(source, first)
    protocol = Protocol.of(grouped, first, score_every=1, together=True, seen=False)
    past = lived_batch(grouped, first, None)
    rungs = {name: ranked.figures({}, 1)["all"] for name, ranked in climbed(past, protocol, 60.0)}
    assert list(rungs) == ["frozen", "+ users' own states", *(name for name, _ in RUNGS)]
    assert rungs["frozen"] == late["frozen"]["all"]
    assert rungs["+ users' own states"] == late["frozen+state"]["all"]
    assert rungs[RUNGS[-1][0]] == late["continued"]["all"]
    lags = {name: ranked.figures({}, 1)["all"] for name, ranked in aged(past, protocol)}
    assert list(lags) == ["never", *(name for name, _ in LAGS)]
    assert lags["never"] == late["frozen+state"]["all"]
    assert lags["1 min"] == late["continued"]["all"]
    assert lags["each event"] == at_once["continued"]["all"]


def test_every_rung_names_arrays_that_there_are():
    names = [column.name for column in LEARNER_COLUMNS if column.table != "users" and not column.derived]
    for rung, arrays in RUNGS:
        for prefix in arrays:
            assert any(name.startswith(prefix) for name in names), (rung, prefix)


def test_the_drawing_says_its_figures_in_words():
    drawn = lag_plot({"never": 0.02, "1 h": 0.31, "each event": 0.4})
    assert 'aria-label="HR@10 by the age of the parameters: never 0.020, 1 h 0.310, each event 0.400"' in drawn
    assert drawn.count("<rect") == 3
