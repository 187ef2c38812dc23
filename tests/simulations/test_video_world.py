"""The simulated world keeps its promises: it can be asked in any order, and its truth is the truth."""

import numpy as np
import pytest

from online.interactions import read_interactions
from simulations.history import LoggingPolicy, logged, write_history
from simulations.video_records import Visit, examination
from simulations.video_settings import DAY_MS, HOUR_MS, WorldSettings
from simulations.video_world import VideoWorld

SMALL = WorldSettings(seed=3, viewers=200, titles=150, titles_per_day=20, viewers_per_day=10)


def day_ms(day: int) -> int:
    return SMALL.starts_at_ms + day * DAY_MS


def test_the_same_seed_gives_the_same_world_in_whatever_order_it_is_asked():
    forwards, backwards = VideoWorld(SMALL), VideoWorld(SMALL)
    early = [forwards.visits(day) for day in range(5)]
    late = [backwards.visits(day) for day in reversed(range(5))][::-1]
    assert early == late
    # One world is asked for truths on the way, the other for answers only, from the last visit to the first.
    answers = []
    for visit in early[4]:
        slate, _ = forwards.best_slate(visit, 10)
        answers.append((slate, forwards.respond(visit, slate)))
    fresh = VideoWorld(SMALL)
    for visit, (slate, feedback) in reversed(list(zip(late[4], answers, strict=True))):
        assert fresh.respond(visit, slate) == feedback


def test_another_seed_gives_another_world():
    other = VideoWorld(WorldSettings(seed=4, viewers=200, titles=150))
    assert [visit.at_ms for visit in other.visits(0)] != [visit.at_ms for visit in VideoWorld(SMALL).visits(0)]


def test_expected_value_of_a_slate_is_what_many_visits_bring():
    """One viewer, one moment, 6,000 draws: the standard error is about 1.4 % of the mean."""
    world = VideoWorld(SMALL)
    for viewer, device in ((5, "tv"), (17, "phone")):
        at_ms = day_ms(3) + 20 * HOUR_MS
        slate, value = world.best_slate(Visit(viewer, at_ms, device, day=3, number=0), 10)
        sums = []
        for number in range(6_000):
            visit = Visit(viewer, at_ms, device, day=3, number=number)
            feedback = world.respond(visit, slate)
            sums.append(sum(one.value or 0.0 for one in feedback if one.position is not None))
        standard_error = np.std(sums) / np.sqrt(len(sums))
        assert abs(np.mean(sums) - value) < 4 * standard_error
        assert world.slate_value(Visit(viewer, at_ms, device, day=3, number=0), slate) == pytest.approx(value)


def test_expected_reward_of_one_title_is_its_frequency_at_the_first_position():
    """Position 1 is always examined. 8,000 visits, four standard errors."""
    world = VideoWorld(SMALL)
    at_ms = day_ms(2) + 9 * HOUR_MS
    title = world.best_slate(Visit(9, at_ms, "web", day=2, number=0), 1)[0][0]
    visits = (Visit(9, at_ms, "web", day=2, number=number) for number in range(8_000))
    shares = [sum(one.value or 0.0 for one in world.respond(visit, [title]) if one.position == 1) for visit in visits]
    expected = world.expected_reward(9, title, at_ms, device="web")
    assert abs(np.mean(shares) - expected) < 4 * np.std(shares) / np.sqrt(len(shares))


def test_lower_positions_are_seen_less_and_a_phone_shows_fewest():
    for device in ("phone", "tv", "web"):
        seen = examination(device, 10)
        assert seen[0] == 1.0
        assert np.all(np.diff(seen) < 0.0)
    assert examination("phone", 10)[9] < examination("web", 10)[9] < examination("tv", 10)[9]


def test_the_same_title_is_watched_less_often_at_a_lower_position():
    """4,000 visits each; P(examined) falls from 1 to 0.13 on a phone."""
    world = VideoWorld(SMALL)
    at_ms = day_ms(2) + 20 * HOUR_MS
    slate, _ = world.best_slate(Visit(5, at_ms, "phone", day=2, number=0), 10)
    best, others = slate[0], slate[1:]
    starts = {1: 0, 10: 0}
    for number in range(4_000):
        visit = Visit(5, at_ms, "phone", day=2, number=number)
        for position, shown in ((1, [best, *others]), (10, [*others, best])):
            starts[position] += any(
                one.title == best and one.position == position and one.event_type == "watch"
                for one in world.respond(visit, shown)
            )
    ratio = starts[10] / starts[1]
    assert ratio == pytest.approx(examination("phone", 10)[9], abs=0.03)


def test_no_slate_is_worth_more_than_the_best_one():
    world = VideoWorld(SMALL)
    chance = np.random.default_rng(0)
    for visit in world.visits(4)[:50]:
        _, best = world.best_slate(visit, 10)
        shuffled = chance.permutation(world.title_count(visit.at_ms))[:10].tolist()
        assert world.slate_value(visit, shuffled) <= best + 1e-12


def test_without_drift_nothing_moves():
    still = VideoWorld(WorldSettings(seed=3, viewers=200, titles=150, drift=0.0))
    noon = 12 * HOUR_MS
    first = still.expected_rewards(7, day_ms(1) + noon, device="tv")
    last = still.expected_rewards(7, day_ms(30) + noon, device="tv")
    np.testing.assert_array_equal(first, last)
    assert still.viewer_count(30) == 200
    assert still.title_count(day_ms(30)) == 150


def test_with_drift_tastes_titles_and_trends_move():
    world = VideoWorld(SMALL)
    assert world.title_count(day_ms(6)) == 150 + 5 * 20  # the titles of day 6 come out during day 6
    before, after = world.taste(7, day_ms(1)), world.taste(7, day_ms(6))
    assert np.linalg.norm(before - after) > 0.2
    # The titles of day 3, for 100 viewers: worth more on the day after than three weeks later.
    newest = list(range(world.title_count(day_ms(3)), world.title_count(day_ms(4))))
    fresh, stale = (
        np.mean([world.expected_rewards(viewer, day_ms(day), titles=newest) for viewer in range(100)])
        for day in (4, 24)
    )
    assert fresh > 1.3 * stale


def test_a_title_that_is_not_out_yet_cannot_be_watched():
    world = VideoWorld(SMALL)
    at_ms = day_ms(3)
    unreleased = world.title_count(at_ms)
    assert world.expected_reward(0, unreleased, at_ms) == 0.0


def test_a_title_watched_before_is_worth_a_tenth():
    world = VideoWorld(SMALL)
    once, again = (world.expected_rewards(4, day_ms(2), titles=[3], watched=seen)[0] for seen in ((), {3}))
    assert again == pytest.approx(0.1 * once)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="drift"):
        WorldSettings(drift=-1.0)
    with pytest.raises(ValueError, match="lost_share"):
        WorldSettings(lost_share=1.5)


def test_feedback_is_late_or_lost_as_often_as_the_settings_say():
    """About 4,000 reports; late and lost shares within 0.03 (reports of one title share their fate)."""
    world = VideoWorld(SMALL)
    policy = LoggingPolicy(world)
    reports = [
        feedback
        for day in range(6)
        for visit in world.visits(day)
        for feedback in world.respond(visit, policy.slate(visit))
    ]
    assert len(reports) > 2_500
    lost = np.mean([one.arrives_at_ms is None for one in reports])
    late = np.mean([one.arrives_at_ms is not None and one.arrives_at_ms > one.occurred_at_ms for one in reports])
    assert lost == pytest.approx(0.05, abs=0.03)
    assert late == pytest.approx(0.10 * 0.95, abs=0.03)


def test_history_is_read_by_the_one_reader_of_interactions(tmp_path):
    history = write_history(VideoWorld(SMALL), tmp_path, days=3)
    interactions = read_interactions(history.interactions)
    assert len(interactions) == history.events > 1_000
    assert set(interactions.event_types) <= {"watch", "like", "dislike", "skip"}
    assert set(interactions.context_values) == {"context_device", "context_hour_band"}
    assert interactions.at_ms.max() < history.until_ms
    watched = interactions.value[~np.isnan(interactions.value)]
    assert watched.min() >= 0.0
    assert watched.max() <= 1.0


def test_the_same_world_writes_the_same_history_byte_for_byte(tmp_path):
    first = write_history(VideoWorld(SMALL), tmp_path / "a", days=2)
    second = write_history(VideoWorld(SMALL), tmp_path / "b", days=2)
    assert first.interactions.read_bytes() == second.interactions.read_bytes()
    assert first.items.read_bytes() == second.items.read_bytes()


def test_the_logging_policy_shows_no_title_twice_and_none_watched_before():
    world = VideoWorld(SMALL)
    policy = LoggingPolicy(world)
    for visit, feedback in logged(world, policy, range(2)):
        assert feedback.title < world.title_count(visit.at_ms)
    for visit in world.visits(2)[:100]:
        slate = policy.slate(visit)
        assert len(slate) == len(set(slate)) == 10
        assert not set(slate) & policy.watched(visit.viewer)
