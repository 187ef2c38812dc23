"""How a viewer of a video world responds to a slate: what is examined, started, watched to the end, reported late."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from simulations.video_records import Feedback, Visit, examination, positions_of
from simulations.video_settings import HOUR_MS, MINUTE_MS, VISITS_PER_DAY_MAX, Draws

if TYPE_CHECKING:
    from simulations.video_world import VideoWorld

# Visit draws: examination, start, share (a uniform for the Beta), thumb, skip, delay, loss for each position.
_DRAWS_PER_POSITION: Final = 7


def response(world: VideoWorld, visit: Visit, slate: Sequence[int], watched: Collection[int]) -> list[Feedback]:
    """What the viewer does with this slate (top position first), and which titles are found without it.

    The mean of the watched shares over many visits is `slate_value`: a test holds the two together.
    """
    settings = world.settings
    n = len(slate)
    visit_number = visit.day * VISITS_PER_DAY_MAX + visit.number
    draws = world.draws(Draws.RESPONSES, visit.viewer, visit_number)
    organic, which, spread = draws.random(3).tolist()
    chances: list[list[float]] = draws.random((n + 1, _DRAWS_PER_POSITION)).tolist()
    feedback: list[Feedback] = []
    begins_ms = visit.at_ms
    if n:
        start, share_mean = world.start_and_share(visit.viewer, visit.at_ms, visit.device, slate)
        start[positions_of(slate, watched)] *= settings.rewatch_share
        # Beta of that mean and concentration 4: some stop at once and some stay to the end.
        draws = world.draws(Draws.SHARES, visit.viewer, visit_number)
        shares = draws.beta(4.0 * share_mean, 4.0 * (1.0 - share_mean)).tolist()
        examined = examination(visit.device, n).tolist()
        for at, (chance, p_start) in enumerate(zip(chances[:n], start.tolist(), strict=True)):
            if chance[0] >= examined[at]:
                continue
            if chance[1] < p_start:
                begins_ms = _watch(world, feedback, slate[at], at + 1, shares[at], begins_ms, chance)
            elif chance[4] < 0.2:
                # A preview scrolled away; most titles that are passed over leave no trace.
                _report(world, feedback, "skip", slate[at], at + 1, None, visit.at_ms + 2_000, chance)
    if organic < settings.organic_share:
        start, share_mean = world.start_and_share(visit.viewer, visit.at_ms, visit.device)
        rewards = start * share_mean
        rewards[[title for title in watched if title < len(rewards)]] *= settings.rewatch_share
        reach = (rewards * rewards).cumsum()
        found = int(reach.searchsorted(which * reach[-1], side="right"))
        if found not in slate:
            share = min(1.0, max(0.01, float(share_mean[found]) + 0.3 * (spread - 0.5)))
            _watch(world, feedback, found, None, share, begins_ms, chances[n])
    feedback.sort(key=lambda one: one.occurred_at_ms)
    return feedback


def _watch(
    world: VideoWorld,
    feedback: list[Feedback],
    title: int,
    position: int | None,
    share: float,
    begins_ms: int,
    chance: list[float],
) -> int:
    """Report one title watched, and perhaps a thumb. -> when it ended"""
    ends_ms = begins_ms + int(share * world.title(title).minutes * MINUTE_MS) + 1_000
    share = round(share, 4)
    _report(world, feedback, "watch", title, position, share, ends_ms, chance)
    if share > 0.7 and chance[3] < 0.15:
        _report(world, feedback, "like", title, position, None, ends_ms + 1_000, chance)
    elif share < 0.3 and chance[3] < 0.10:
        _report(world, feedback, "dislike", title, position, None, ends_ms + 1_000, chance)
    return ends_ms


def _report(
    world: VideoWorld,
    feedback: list[Feedback],
    event_type: str,
    title: int,
    position: int | None,
    value: float | None,
    occurred_at_ms: int,
    chance: list[float],
) -> None:
    arrives_at_ms: int | None = occurred_at_ms
    if chance[6] < world.settings.lost_share:
        arrives_at_ms = None
    elif chance[5] < world.settings.late_share:
        arrives_at_ms = occurred_at_ms + int((0.5 + 50.0 * chance[5]) * HOUR_MS)
    feedback.append(Feedback(event_type, title, position, value, occurred_at_ms, arrives_at_ms))
