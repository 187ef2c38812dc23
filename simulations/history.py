"""The past of a simulated service as files: what a batch job would find when the project arrives.

Slates of that past come from a plain logging policy: half of the positions are titles that were watched a
lot of late, half are drawn at random. The viewers' answers are those of the world.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from simulations.video_records import Feedback, Visit, hour_band, title_id, viewer_id
from simulations.video_settings import DAY_MS, HOUR_MS, Draws
from simulations.video_world import VideoWorld

INTERACTION_COLUMNS = (
    "user_id",
    "item_id",
    "timestamp",
    "event_type",
    "value",
    "session_id",
    "context_device",
    "context_hour_band",
)
ITEM_COLUMNS = ("item_id", "title", "genre", "minutes", "available_from")
InteractionRow = tuple[str, str, int, str, str, str, str, str]
_POPULARITY_HALF_LIFE_MS = 12 * HOUR_MS
_POPULAR = 100  # titles that the popular half of a slate is drawn from


@dataclass(frozen=True, slots=True)
class History:
    interactions: Path
    items: Path
    events: int
    until_ms: int


class LoggingPolicy:
    """Popularity and chance, nothing personal. Counts what was watched, with a half-life of 12 hours."""

    def __init__(self, world: VideoWorld, *, slate_size: int = 10, random_share: float = 0.5) -> None:
        self._world = world
        self._slate_size = slate_size
        self._random_share = random_share
        self._counts: dict[int, float] = defaultdict(float)  # in units of 2 ** (age of the world / half-life)
        self._popular: list[int] = []
        self._refreshed_ms = -1
        self._watched: dict[int, set[int]] = defaultdict(set)

    def watched(self, viewer: int) -> set[int]:
        return self._watched[viewer]

    def slate(self, visit: Visit) -> list[int]:
        """Titles that the viewer has not watched yet, top position first."""
        if visit.at_ms - self._refreshed_ms >= HOUR_MS:
            ranked = sorted(self._counts, key=lambda title: (-self._counts[title], title))
            self._popular, self._refreshed_ms = ranked[:_POPULAR], visit.at_ms
        draws = self._world.draws(Draws.LOGGING, visit.viewer, visit.day * 64 + visit.number)
        n = self._world.title_count(visit.at_ms)
        taken = set(self._watched[visit.viewer])
        slate: list[int] = []
        for chance, rank, any_title in draws.random((6 * self._slate_size, 3)).tolist():
            if len(slate) == self._slate_size:
                break
            # Squared: the most watched come first more often.
            popular = self._popular and chance >= self._random_share
            title = self._popular[int(rank * rank * len(self._popular))] if popular else int(any_title * n)
            if title not in taken:
                taken.add(title)
                slate.append(title)
        return slate

    def learn(self, viewer: int, feedback: Feedback) -> None:
        if feedback.event_type != "watch" or (feedback.value or 0.0) < 0.25:
            return
        age = feedback.occurred_at_ms - self._world.settings.starts_at_ms
        self._counts[feedback.title] += 2.0 ** (age / _POPULARITY_HALF_LIFE_MS)
        self._watched[viewer].add(feedback.title)


def logged(world: VideoWorld, policy: LoggingPolicy, days: range) -> Iterator[tuple[Visit, Feedback]]:
    """What happened on those days under the policy, visit by visit; reports that got lost are left out."""
    for day in days:
        for visit in world.visits(day):
            slate = policy.slate(visit)
            for feedback in world.respond(visit, slate, policy.watched(visit.viewer)):
                policy.learn(visit.viewer, feedback)
                if feedback.arrives_at_ms is not None:
                    yield visit, feedback


def write_history(
    world: VideoWorld, folder: Path, *, days: int, progress: Callable[[str], None] | None = None
) -> History:
    """Write the first `days` days into `folder` as interactions.csv and items.csv. Same world, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    until_ms = world.settings.starts_at_ms + days * DAY_MS
    interactions, items = folder / "interactions.csv", folder / "items.csv"
    policy = LoggingPolicy(world)
    rows: list[InteractionRow] = []
    for day in range(days):
        if progress is not None:
            progress(f"day {day + 1} of {days}")
        for visit, feedback in logged(world, policy, range(day, day + 1)):
            if feedback.occurred_at_ms < until_ms:
                rows.append(interaction_row(visit, feedback))
    rows.sort(key=lambda row: row[2])
    write_rows(interactions, INTERACTION_COLUMNS, rows)
    titles = [world.title(title) for title in range(world.title_count(until_ms - 1))]
    write_rows(
        items,
        ITEM_COLUMNS,
        [(one.title_id, one.name, one.genre, round(one.minutes, 1), one.released_at_ms) for one in titles],
    )
    return History(interactions=interactions, items=items, events=len(rows), until_ms=until_ms)


def interaction_row(visit: Visit, feedback: Feedback) -> InteractionRow:
    return (
        viewer_id(visit.viewer),
        title_id(feedback.title),
        feedback.occurred_at_ms,
        feedback.event_type,
        "" if feedback.value is None else f"{feedback.value:.4f}",
        f"{viewer_id(visit.viewer)}-{visit.day}-{visit.number}",
        visit.device,
        hour_band(visit.at_ms),
    )


def write_rows(path: Path, columns: tuple[str, ...], rows: Sequence[tuple[str | int | float, ...]]) -> None:
    """A CSV file, whole or not at all."""
    temporary = path.with_suffix(".part")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
