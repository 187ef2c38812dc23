"""One state that lives through a stream: every event is ranked, then folded, by the kernels that serve."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from online.batch import LENGTH, BatchBuilder
from online.fold import Fold
from online.recommendation.feeding import Feed, fold_interactions
from online.recommendation.front import empty_front
from online.recommendation.layout import UserArrays
from online.state import State
from simulations.protocol import NothingToReplay, Protocol
from simulations.ranking import Ranked, link, rank_and_fold


class Runner:
    """One state that lives through the stream, ranking before it learns."""

    def __init__(self, state: State, feed: Feed, protocol: Protocol, *, users_then: UserArrays | None = None) -> None:
        source = feed.interactions
        events = len(source) - protocol.first
        self.state, self.feed, self.protocol = state, feed, protocol
        self.fold = Fold(state)
        self.builder = BatchBuilder(state.settings)
        self.users_then = users_then
        rows = state.count("items") + len(source.item_ids)
        self.followed = Ranked(events, rows)
        self.frozen = Ranked(events, rows)
        self.item_row = np.full(len(source.item_ids), -1, np.int64)
        self.scores = np.zeros(rows, np.float32)
        self.front = empty_front(rows)
        self.stamp = np.full(rows, -1, np.int64)
        # Each user's items so far: the newest row of the file, and from each row the one before.
        self.last_of = np.full(len(source.user_ids), -1, np.int64)
        self.before = np.full(len(source), -1, np.int64)
        link(source.user, 0, protocol.first, self.last_of, self.before)

    def run(self, first: int, last: int, report: Any) -> float:
        """Rank and fold rows first … last - 1; seconds that it took, without compiling the kernels."""
        self._span(first, first)
        started = time.perf_counter()
        for start in range(first, last, LENGTH):
            self._span(start, min(start + LENGTH, last))
            report(min(start + LENGTH, last) - first, last - first)
        return time.perf_counter() - started

    def run_lagging(
        self,
        learner: Fold,
        first: int,
        last: int,
        every_ms: int,
        report: Any,
        *,
        moving: Callable[[str], bool] | None = None,
    ) -> float:
        """As `run`, with parameters that a second state learns, and hands over once in `every_ms` of event time.

        moving: whether an array, by its name, is handed over; all are without it.
        """
        self._span(first, first)
        started = time.perf_counter()
        at_ms = self.feed.interactions.at_ms
        origin = int(at_ms[first])
        start = first
        while start < last:
            boundary = origin + ((int(at_ms[start]) - origin) // every_ms + 1) * every_ms
            end = min(int(np.searchsorted(at_ms, boundary, side="left")), last)
            for span in range(start, end, LENGTH):
                self._span(span, min(span + LENGTH, end))
                report(min(span + LENGTH, end) - first, last - first)
            fold_interactions(learner, self.feed, start, end)
            mine = self.state.parameters()
            for name, newest in learner.state.parameters().items():
                if moving is None or moving(name):
                    mine[name][...] = newest
            start = end
        return time.perf_counter() - started

    def _span(self, start: int, end: int) -> None:
        state, feed, source = self.state, self.feed, self.feed.interactions
        state.ensure("users", end - start)
        state.ensure("items", end - start)
        feed.fill(self.builder, start, end, state.position + 1)
        known = state.count("items")
        views = state.views
        learners = views.learners
        still = learners if self.users_then is None else learners._replace(users=self.users_then)
        reached = rank_and_fold(
            self.fold.held(self.builder.batch),
            learners,
            still,
            self.users_then is not None,
            views.users,
            views.items,
            views.catalogue,
            self.front,
            start,
            end - start,
            self.protocol.first,
            source.user,
            source.item,
            source.at_ms,
            feed.context,
            feed.user_key,
            feed.item_key,
            self.protocol.group_end,
            self.protocol.scored,
            self.protocol.include_seen,
            self.item_row,
            self.last_of,
            self.before,
            self.scores,
            self.stamp,
            self.followed.rank,
            self.followed.shown,
            self.frozen.rank,
            self.frozen.shown,
        )
        if reached != end - start:
            raise NothingToReplay(f"row {start + reached}: the tables are full")
        for row in range(known, state.count("items")):
            state.name_item(row, self.builder.ids[int(views.items.key[row])])
        self.builder.clear()
        for journal in state.journal:
            journal.used[0] = 0
