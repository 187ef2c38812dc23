"""`perennial pretrain pricing` and `perennial replay pricing`, from the command line to what they print."""

import json

import pytest
from typer.testing import CliRunner

from api.command import cli
from simulations.airline_history import past, write_bookings
from simulations.airline_market import draw_market, draw_routes

HEAD = "flight_id,market,departs_at,asked_at,fare_cents,booked,seats_left,capacity\n"


@pytest.fixture
def run():
    return lambda *words: CliRunner().invoke(cli(), [str(word) for word in words])


def test_a_header_alone_makes_an_artifact_of_published_estimates(run, tmp_path):
    (tmp_path / "none.csv").write_text(HEAD)
    said = run("pretrain", "pricing", "--bookings", tmp_path / "none.csv", "--out", tmp_path / "a", "--json")
    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)
    assert (tmp_path / "a" / "manifest.json").is_file() and found["metrics"]["validation"] is None


def test_a_log_that_cannot_be_read_is_refused_in_one_line(run, tmp_path):
    (tmp_path / "bad.csv").write_text(HEAD + "F,M,2026-03-01,2026-02-01,cheap,0,1,2\n")
    said = run("pretrain", "pricing", "--bookings", tmp_path / "bad.csv", "--out", tmp_path / "a")
    assert said.exit_code == 2
    assert "line 2, column fare_cents: not a number: 'cheap'" in said.stderr and "Traceback" not in said.output


def test_replay_prints_both_variants(run, tmp_path):
    market = draw_market(routes=draw_routes(1, 2), flights_per_route=6, seed=2, calendar_days=30)
    write_bookings(tmp_path / "b.csv", market, past(market, 2))
    said = run("replay", "pricing", "--bookings", tmp_path / "b.csv", "--json")
    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)
    assert set(found["variants"]) == {"frozen", "continued"} and len(found["state_digest"]) == 32
    said = run("replay", "pricing", "--bookings", tmp_path / "b.csv", "--pretrain-share", "1.0")
    assert said.exit_code == 2 and "none that was quoted is left" in said.stderr
