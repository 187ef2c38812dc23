"""The population's own rules, as far as they need no service; with one they are held in test_demo."""

import asyncio

import pytest

from simulations.history import write_history
from simulations.population import Population
from simulations.terminal import plain_line
from simulations.video_records import rfc3339
from simulations.video_settings import DAY_MS, WorldSettings
from simulations.video_world import VideoWorld
from simulations.viewers import watched_before

SMALL = WorldSettings(seed=3, viewers=200, titles=150, titles_per_day=20, viewers_per_day=10)


class NobodyAnswers:
    """A client whose every call fails: nothing of what follows may ask for one."""

    async def call(self, *_: object, **__: object) -> None:
        raise AssertionError("no call was expected")


def population(**changes: object) -> Population:
    fields = {"first_day": 2, "rate": 50.0, "held_out_share": 0.25, "watched": {}, "run": "t"}
    return Population(VideoWorld(SMALL), NobodyAnswers(), **{**fields, **changes})


def test_held_out_viewers_never_visit_by_themselves():
    crowd = population()
    visitors = {next(crowd._visits).viewer for _ in range(400)}
    assert not any(crowd.world.held_out(viewer, 0.25) for viewer in visitors)
    held_out = [viewer for viewer in range(200) if crowd.world.held_out(viewer, 0.25)]
    assert 30 <= len(held_out) <= 70


def test_visits_go_on_past_midnight_in_order_of_time():
    crowd = population()
    times = [next(crowd._visits).at_ms for _ in range(800)]
    assert times == sorted(times)
    assert times[0] >= SMALL.starts_at_ms + 2 * DAY_MS
    assert times[-1] >= SMALL.starts_at_ms + 3 * DAY_MS


def test_what_was_watched_before_is_read_out_of_the_history(tmp_path):
    history = write_history(VideoWorld(SMALL), tmp_path, days=2)
    watched = watched_before(history.interactions)
    rows = [line.split(",") for line in history.interactions.read_text().splitlines()[1:]]
    counted = sum(row[3] == "watch" and float(row[4]) >= 0.25 for row in rows)
    assert sum(map(len, watched.values())) == counted > 100


def test_an_event_names_its_decision_its_moment_and_its_value():
    crowd = population()
    visit = next(crowd._visits)
    slate, _ = crowd.world.best_slate(visit, 10)
    feedback = next(
        one
        for number in range(100)
        for one in crowd.world.respond(type(visit)(visit.viewer, visit.at_ms, "tv", visit.day, number), slate)
        if one.event_type == "watch" and one.position is not None
    )
    event = crowd._event(17, visit, feedback, "d1")
    assert event["event_id"] == "t-17"
    assert event["decision_id"] == "d1"
    assert event["occurred_at"] == rfc3339(feedback.occurred_at_ms)
    assert 0.0 <= event["value"] <= 1.0
    assert event["context"] == {"device": visit.device, "hour_band": visit.hour_band}


def test_figures_before_anything_happened_say_nothing_and_fail_nowhere():
    figures = population().figures()
    assert figures["decisions"] == figures["events"] == 0
    assert "slates/s" in plain_line(figures, {})


def test_lost_reports_are_counted_and_the_best_slate_is_worth_the_best():
    crowd = population()
    for _ in range(60):
        visit = next(crowd._visits)
        slate, _ = crowd.world.best_slate(visit, 10, set(crowd._watched.get(visit.viewer, ())))
        answer = {
            "decision_id": f"d{visit.viewer}",
            "items": [{"item_id": f"t{title:05d}"} for title in slate],
            "model": {"arm": "live", "position": 1, "staleness_ms": 0},
        }
        crowd._react(visit, answer, "live", latency_ms=1.0, waited=False)
    reports = len(crowd._due) + crowd.counters.lost
    assert crowd.counters.lost == pytest.approx(0.05 * reports, abs=0.05 * reports)
    assert crowd.counters.decisions == len(crowd.decisions) == 60
    assert all(one.value == pytest.approx(one.best) for one in crowd.decisions)


def test_held_out_viewers_report_nothing():
    crowd = population()
    visit = next(crowd._visits)
    slate, _ = crowd.world.best_slate(visit, 10)
    answer = {
        "decision_id": "d1",
        "items": [{"item_id": f"t{title:05d}"} for title in slate],
        "model": {"arm": "champion", "position": 1, "staleness_ms": 0},
    }
    crowd._react(visit, answer, "held_out", latency_ms=1.0, waited=False)
    assert crowd._due == []
    assert crowd.figures()["arms"] == {}


def test_with_nothing_due_nothing_is_sent():
    crowd = population()
    before = crowd.figures()
    asyncio.run(crowd._flush())  # whoever sent would fail: nobody listens
    assert crowd._due == [] and crowd.figures() == before
