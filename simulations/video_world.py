"""A streaming-video service's viewers and titles, with the truth known.

The law this file keeps: **the world is a pure function of its settings**. It does no I/O, reads no clock
and keeps no state that a question could change. Every number is drawn from a counter-based generator
(Philox) keyed by the seed and by what it is about (which cohort, day, viewer, visit), so the same seed
gives the same world in whatever order it is asked, and both arms of an experiment meet the same viewers.

The model, in the words of the field:

- a *position-based* click model: a viewer examines position k with probability `k ** -steepness(device)`,
  each position for itself;
- an examined title is started with probability `sigmoid(base + match + quality + tide + hype + context)`;
- a started title is watched to a share drawn from a Beta distribution whose mean grows with the match
  alone: hype makes people start, the match makes them stay;
- so the expected reward (watched share) of a title is `P(start) * E[share]`, the value of a slate is the
  examination-weighted sum of it, and the best slate is simply the best titles in order: regret is known
  exactly.

What moves, all scaled by one number, `drift` (1 = as documented here, 0 = a stationary world):

- tastes: a part of every viewer's taste turns into something unrelated within `taste_period_days`;
- new titles every day, whose hype rises in hours and fades with the half-life of their genre (news 10 h,
  film 14 days);
- revivals: an old title is suddenly talked about (0.3 % of titles a day);
- tides: whole genres gain and lose (a tournament, an election).

Tastes, tides and hype move in steps of a quarter of an hour. Times are UTC in integer milliseconds.
Viewers and titles are integers here; `viewer_id` and `title_id` name them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np

from simulations.video_records import (
    Feedback,
    Floats,
    Ints,
    Title,
    Visit,
    examination,
    hour_band,
    positions_of,
    title_id,
)
from simulations.video_response import response
from simulations.video_settings import (
    DAY_MS,
    DEVICES,
    GENRES,
    HOUR_BANDS,
    HOUR_MS,
    MINUTE_MS,
    VISITS_PER_DAY_MAX,
    Draws,
    WorldSettings,
)

# Share of a day's visits per hour: the evening peak of any video service.
_HOURLY: Final = np.array([2, 1, 1, 1, 1, 2, 3, 5, 5, 4, 4, 4, 5, 5, 4, 4, 5, 6, 8, 10, 11, 9, 6, 4])
_HOURLY_CDF: Final = np.cumsum(_HOURLY) / _HOURLY.sum()

_DIMENSIONS: Final = 8
_STEP_MS: Final = 15 * MINUTE_MS


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


@dataclass(frozen=True, slots=True)
class _Cohort:
    """The viewers who joined, or the titles that came out, on one day, numbered from `first`."""

    first: int
    vectors: Floats  # [n, k], unit length
    columns: dict[str, Floats] = field(default_factory=dict)  # each [n]


class VideoWorld:
    """See the file's first comment. All methods are pure; caches only save work."""

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings
        self._philox = np.random.Philox(key=settings.seed)
        self._chance = self._philox.state  # at the start of a block: nothing buffered
        self._generator = np.random.Generator(self._philox)
        draws = self.draws(Draws.CONTEXT, 0, 0)
        genres = len(GENRES)
        # Newcomers are part of what moves; more drift than documented does not mean more of them.
        self._new_titles = round(settings.titles_per_day * min(1.0, settings.drift))
        self._new_viewers = round(settings.viewers_per_day * min(1.0, settings.drift))
        # Orthogonal directions, one per genre, shared by titles and tastes.
        directions = np.linalg.qr(draws.standard_normal((_DIMENSIONS, _DIMENSIONS)))[0][:genres]
        self._directions: Floats = np.ascontiguousarray(directions)
        self._context: Floats = draws.standard_normal((len(DEVICES), len(HOUR_BANDS), genres))
        self._context *= settings.context_scale
        self._release_ms: Ints = np.empty(0, dtype=np.int64)
        self._released_days = 0
        self._viewer_cohort = lru_cache(maxsize=None)(self._make_viewer_cohort)
        self._title_cohort = lru_cache(maxsize=None)(self._make_title_cohort)
        self._moving_tastes = lru_cache(maxsize=512)(self._make_moving_tastes)
        self._tide_anchor = lru_cache(maxsize=64)(self._make_tide_anchor)
        self._revivals = lru_cache(maxsize=64)(self._make_revivals)
        self._hype = lru_cache(maxsize=16)(self._make_hype)
        self._tide = lru_cache(maxsize=16)(self._make_tide)
        self._titles_until = lru_cache(maxsize=4)(self._stack_titles)

    # -- chance -------------------------------------------------------------------------------------------

    def draws(self, about: int, first: int, second: int) -> np.random.Generator:
        """A stream of its own for (about, first, second): the counter starts there, the key is the seed.

        Valid until the next call: one generator is set to the place asked for, which beats making a new one.
        """
        self._chance["state"]["counter"][:] = (0, second, first, about)
        self._philox.state = self._chance
        return self._generator

    # -- who and what there is ----------------------------------------------------------------------------

    def day_of(self, at_ms: int) -> int:
        """Days since the world began; 0 on the first. Raises ValueError before it."""
        if at_ms < self.settings.starts_at_ms:
            raise ValueError(f"the world begins at {self.settings.starts_at_ms}, asked for {at_ms}")
        return (at_ms - self.settings.starts_at_ms) // DAY_MS

    def viewer_count(self, day: int) -> int:
        """Viewers who have joined by that day, the whole of it included."""
        return self._viewers_before(day + 1)

    def _viewers_before(self, day: int) -> int:
        return 0 if day == 0 else self.settings.viewers + (day - 1) * self._new_viewers

    def _titles_before(self, day: int) -> int:
        return 0 if day == 0 else self.settings.titles + (day - 1) * self._new_titles

    def title_count(self, at_ms: int) -> int:
        """Titles released by then. They are numbered in order of release: these are titles 0 to count - 1."""
        day = self.day_of(at_ms)
        while self._released_days <= day:
            released = self._title_cohort(self._released_days).columns["released_at_ms"]
            self._release_ms = np.concatenate([self._release_ms, released.astype(np.int64)])
            self._released_days += 1
        return int(np.searchsorted(self._release_ms, at_ms, side="right"))

    def title(self, title: int) -> Title:
        cohort, row = self._title_row(title)
        genre = int(cohort.columns["genre"][row])
        name, _, _, _ = GENRES[genre]
        return Title(
            title=title,
            title_id=title_id(title),
            name=f"{name.capitalize()} {title:04d}",
            genre=name,
            minutes=float(cohort.columns["minutes"][row]),
            released_at_ms=int(cohort.columns["released_at_ms"][row]),
        )

    def _title_row(self, title: int) -> tuple[_Cohort, int]:
        initial = self.settings.titles
        day = 0 if title < initial or not self._new_titles else 1 + (title - initial) // self._new_titles
        cohort = self._title_cohort(day)
        return cohort, title - cohort.first

    def _viewer_row(self, viewer: int) -> tuple[int, _Cohort, int]:
        initial = self.settings.viewers
        day = 0 if viewer < initial or not self._new_viewers else 1 + (viewer - initial) // self._new_viewers
        cohort = self._viewer_cohort(day)
        return day, cohort, viewer - cohort.first

    def _make_viewer_cohort(self, day: int) -> _Cohort:
        first, n = self._viewers_before(day), self._viewers_before(day + 1) - self._viewers_before(day)
        draws = self.draws(Draws.VIEWERS, day, 0)
        # Two favourite genres and something of one's own.
        favourites = draws.integers(0, len(GENRES), size=(n, 2))
        own = draws.standard_normal((n, _DIMENSIONS)) * 0.35
        base = self._directions[favourites[:, 0]] + 0.7 * self._directions[favourites[:, 1]] + own
        # A few come often, most come seldom.
        activity = draws.gamma(shape=1.5, scale=self.settings.visits_per_day / 1.5, size=n)
        return _Cohort(
            first=first,
            vectors=_unit(base),
            columns={
                "activity": np.minimum(activity, 5.0),
                "phase": draws.random(n),
                "device": draws.integers(0, len(DEVICES), size=n).astype(np.float64),
            },
        )

    def _make_title_cohort(self, day: int) -> _Cohort:
        first, n = self._titles_before(day), self._titles_before(day + 1) - self._titles_before(day)
        draws = self.draws(Draws.TITLES, day, 0)
        shares = np.array([share for *_, share in GENRES])
        genre = draws.choice(len(GENRES), size=n, p=shares / shares.sum())
        own = draws.standard_normal((n, _DIMENSIONS)) * 0.28
        lengths = np.array([minutes for _, _, minutes, _ in GENRES])
        hype = draws.gamma(shape=2.0, scale=0.5, size=n) * self.settings.hype_scale * self.settings.drift
        starts_ms = self.settings.starts_at_ms
        if day == 0:
            # The catalogue at the start came out over the half year before: most of its hype is gone.
            released = starts_ms - (draws.random(n) ** 1.5 * 180 * DAY_MS).astype(np.int64)
        else:
            released = starts_ms + day * DAY_MS + (draws.random(n) * DAY_MS).astype(np.int64)
        released = np.sort(released)
        half_life_h = np.array([hours for _, hours, _, _ in GENRES])[genre]
        return _Cohort(
            first=first,
            vectors=_unit(self._directions[genre] + own),
            columns={
                "genre": genre.astype(np.float64),
                "quality": draws.standard_normal(n) * 0.5,
                "minutes": lengths[genre] * (0.7 + 0.6 * draws.random(n)),
                "hype": hype,
                "half_life_ms": half_life_h * HOUR_MS,
                "released_at_ms": released.astype(np.float64),
            },
        )

    def _stack_titles(self, days: int) -> _Cohort:
        """All titles of days 0 to `days` as one cohort."""
        cohorts = [self._title_cohort(day) for day in range(days + 1)]
        columns = {name: np.concatenate([c.columns[name] for c in cohorts]) for name in cohorts[0].columns}
        return _Cohort(first=0, vectors=np.concatenate([c.vectors for c in cohorts]), columns=columns)

    # -- what moves ---------------------------------------------------------------------------------------

    def _make_moving_tastes(self, cohort_day: int, period: int) -> Floats:
        """Where the moving part of the cohort's tastes points as that period begins. -> [n, k], unit"""
        n = len(self._viewer_cohort(cohort_day).vectors)
        draws = self.draws(Draws.TASTES, cohort_day, period)
        towards = self._directions[draws.integers(0, len(GENRES), size=n)]
        return _unit(towards + draws.standard_normal((n, _DIMENSIONS)) * 0.35)

    def taste(self, viewer: int, at_ms: int) -> Floats:
        """The viewer's taste then: a fixed part, and a part that turns from one whim to the next. -> [k]"""
        settings = self.settings
        cohort_day, cohort, row = self._viewer_row(viewer)
        moving = min(1.0, settings.moving_share * settings.drift)
        if moving == 0.0:
            return np.asarray(cohort.vectors[row])
        clock = (at_ms - settings.starts_at_ms) / (settings.taste_period_days * DAY_MS)
        clock += float(cohort.columns["phase"][row])  # not everyone changes at midnight
        period, angle = int(clock), (clock % 1.0) * math.pi / 2
        before = self._moving_tastes(cohort_day, period)[row]
        after = self._moving_tastes(cohort_day, period + 1)[row]
        whim = math.cos(angle) * before + math.sin(angle) * after
        return np.asarray(math.sqrt(1.0 - moving) * cohort.vectors[row] + math.sqrt(moving) * whim)

    def _make_tide_anchor(self, period: int) -> Floats:
        return self.draws(Draws.TIDES, period, 0).standard_normal(len(GENRES))

    def _make_tide(self, at_ms: int) -> Floats:
        """What each genre gains or loses with everybody then, in logits. -> [genres]"""
        clock = (at_ms - self.settings.starts_at_ms) / (self.settings.tide_period_days * DAY_MS)
        period, angle = int(clock), (clock % 1.0) * math.pi / 2
        wave = math.cos(angle) * self._tide_anchor(period) + math.sin(angle) * self._tide_anchor(period + 1)
        return np.asarray(wave * (self.settings.tide_scale * self.settings.drift))

    def _make_revivals(self, day: int) -> tuple[Ints, Ints, Floats, Floats]:
        """Old titles talked about from that day on: title, start_ms, strength, half_life_ms; each [m]."""
        n = self._titles_before(day) if day > 0 else self.settings.titles
        draws = self.draws(Draws.REVIVALS, day, 0)
        titles = np.flatnonzero(draws.random(n) < self.settings.revivals_per_day).astype(np.int64)
        m = len(titles)
        start = self.settings.starts_at_ms + day * DAY_MS + (draws.random(m) * DAY_MS).astype(np.int64)
        strength = (1.0 + draws.gamma(2.0, 0.5, size=m)) * self.settings.hype_scale * self.settings.drift
        return titles, start, strength, (10.0 + 30.0 * draws.random(m)) * HOUR_MS

    def _make_hype(self, at_ms: int) -> Floats:
        """What being new or talked about adds to each title of that day and before, in logits. -> [n]"""
        day = self.day_of(at_ms)
        columns = self._titles_until(day).columns
        age = np.maximum(at_ms - columns["released_at_ms"], 0.0)
        # Word spreads for three hours, then fades.
        hype = columns["hype"] * np.minimum(1.0, age / (3 * HOUR_MS)) * 0.5 ** (age / columns["half_life_ms"])
        for past in range(max(0, day - 6), day + 1):
            titles, start, strength, half_life = self._revivals(past)
            begun = start <= at_ms
            since = at_ms - start[begun]
            hype[titles[begun]] += strength[begun] * 0.5 ** (since / half_life[begun])
        return hype

    # -- the truth ----------------------------------------------------------------------------------------

    def start_and_share(
        self, viewer: int, at_ms: int, device: str, titles: Sequence[int] | Ints | None = None
    ) -> tuple[Floats, Floats]:
        """P(started | examined), E[watched share | started] of each title, all by default. -> [n], [n]

        A title that is not out yet is never started. Raises IndexError for one that comes out on a later day.
        """
        settings = self.settings
        n = self.title_count(at_ms)
        chosen = slice(0, n) if titles is None else np.asarray(titles, dtype=np.int64)
        stack = self._titles_until(self.day_of(at_ms))
        step_ms = at_ms - at_ms % _STEP_MS
        match = stack.vectors[chosen] @ self.taste(viewer, step_ms)
        match *= settings.match_scale
        moment = self._tide(step_ms) + self._context[DEVICES.index(device), HOUR_BANDS.index(hour_band(at_ms))]
        logit = settings.base_logit + match + moment[stack.columns["genre"][chosen].astype(np.int64)]
        logit += stack.columns["quality"][chosen]
        logit += self._hype(step_ms)[chosen]
        start = _sigmoid(logit)
        if titles is not None:
            start[chosen >= n] = 0.0
        return start, 0.15 + 0.75 * _sigmoid(1.3 * match - 0.6)

    def expected_rewards(
        self,
        viewer: int,
        at_ms: int,
        *,
        device: str | None = None,
        titles: Sequence[int] | Ints | None = None,
        watched: Collection[int] = (),
    ) -> Floats:
        """Expected watched share of each title if examined; all released titles by default. -> [n]

        `device` is the viewer's usual one by default; `watched` are the titles watched already.
        """
        start, share = self.start_and_share(viewer, at_ms, device or self.usual_device(viewer), titles)
        reward = start * share
        if watched:
            n = len(reward)
            again = [t for t in watched if t < n] if titles is None else positions_of(titles, watched)
            reward[again] *= self.settings.rewatch_share
        return reward

    def expected_reward(self, viewer: int, title: int, at_ms: int, *, device: str | None = None) -> float:
        """`expected_rewards` of one title."""
        return float(self.expected_rewards(viewer, at_ms, device=device, titles=[title])[0])

    def slate_value(self, visit: Visit, slate: Sequence[int], watched: Collection[int] = ()) -> float:
        """Expected sum of watched shares over the slate, top position first."""
        if not len(slate):
            return 0.0
        rewards = self._rewards(visit, slate, watched)
        return float(np.sum(rewards * examination(visit.device, len(slate))))

    def _rewards(self, visit: Visit, titles: Sequence[int] | None, watched: Collection[int]) -> Floats:
        return self.expected_rewards(visit.viewer, visit.at_ms, device=visit.device, titles=titles, watched=watched)

    def best_slate(self, visit: Visit, n: int, watched: Collection[int] = ()) -> tuple[list[int], float]:
        """The n titles of highest expected reward, in that order, and the value of that slate."""
        rewards = self._rewards(visit, None, watched)
        order = np.argsort(-rewards, kind="stable")[:n]
        return order.tolist(), float(np.sum(rewards[order] * examination(visit.device, len(order))))

    def held_out(self, viewer: int, share: float) -> bool:
        """True for a fixed share of viewers: those whose feedback an experiment keeps from the learner."""
        return bool(self.draws(Draws.HELD_OUT, viewer, 0).random() < share)

    # -- what happens -------------------------------------------------------------------------------------

    def usual_device(self, viewer: int) -> str:
        _, cohort, row = self._viewer_row(viewer)
        return DEVICES[int(cohort.columns["device"][row])]

    def visits(self, day: int) -> list[Visit]:
        """Everyone who comes on that day, in order of time."""
        begins_ms = self.settings.starts_at_ms + day * DAY_MS
        found: list[Visit] = []
        for cohort_day in range(day + 1):
            cohort = self._viewer_cohort(cohort_day)
            n = len(cohort.vectors)
            if n == 0:
                continue
            draws = self.draws(Draws.VISITS, day, cohort_day)
            counts = np.minimum(draws.poisson(cohort.columns["activity"]), VISITS_PER_DAY_MAX)
            when = draws.random((n, VISITS_PER_DAY_MAX))
            other_device = draws.random((n, VISITS_PER_DAY_MAX))
            which_device = draws.integers(0, len(DEVICES), size=(n, VISITS_PER_DAY_MAX))
            hours = np.interp(when, np.concatenate([[0.0], _HOURLY_CDF]), np.arange(25.0))
            at_ms = begins_ms + np.minimum((hours * HOUR_MS).astype(np.int64), DAY_MS - 1)
            at_ms.sort(axis=1)
            usual = cohort.columns["device"].astype(np.int64)
            for row in np.flatnonzero(counts).tolist():
                for number in range(int(counts[row])):
                    device = which_device[row, number] if other_device[row, number] < 0.25 else usual[row]
                    found.append(Visit(cohort.first + row, int(at_ms[row, number]), DEVICES[int(device)], day, number))
        found.sort(key=lambda visit: (visit.at_ms, visit.viewer, visit.number))
        return found

    def respond(self, visit: Visit, slate: Sequence[int], watched: Collection[int] = ()) -> list[Feedback]:
        """What the viewer does with this slate (top position first), and which titles are found without it."""
        return response(self, visit, slate, watched)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
