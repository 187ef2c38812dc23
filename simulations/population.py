"""Viewers as clients of the service: they visit, look, react, and report what they did when they reach the network.

What was measured on the way is kept here: decisions with their true value, freshness, acknowledged reports.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from simulations.client import CallFailed, Client, Reply
from simulations.history import INTERACTION_COLUMNS, InteractionRow, interaction_row, write_rows
from simulations.measurements import (
    Decision,
    Estimate,
    Freshness,
    clustered_ratio,
    percentile,
    share_of_best,
    write_measurements,
)
from simulations.video_records import Feedback, Visit, examination, rfc3339, title_id, viewer_id
from simulations.video_settings import DAY_MS
from simulations.video_world import VideoWorld

SLATE_SIZE: Final = 10
EXCLUDED_MAX: Final = 200  # watched titles that an app names, newest last
BATCH_MAX: Final = 200  # events of one call
PROBE_EVERY_S: Final = 0.2  # at most one read-your-own-write probe in this time
RECENT_S: Final = 10.0  # what the figures of the moment look back on


@dataclass(slots=True)
class Counters:
    decisions: int = 0
    events: int = 0  # acknowledged
    items: int = 0
    rejected: int = 0
    unavailable: int = 0  # 503, or no answer: the visit went without a slate
    late_probes: int = 0  # X-Min-Position not reached within the service's limit
    lost: int = 0  # reports that never reached the network, by the world's own chance
    withheld: int = 0  # reports of held-out viewers
    problems: dict[str, int] = field(default_factory=dict)  # other refusals, by code


class Population:
    """Viewers of one world from `first_day` on, at most `rate` visits a second."""

    def __init__(
        self,
        world: VideoWorld,
        client: Client,
        *,
        first_day: int,
        rate: float,
        held_out_share: float,
        watched: dict[int, list[int]],
        run: str,
    ) -> None:
        self.world = world
        self.client = client
        self.first_day = first_day
        self.starts_at_ms = world.settings.starts_at_ms + first_day * DAY_MS
        self.rate = rate
        self.held_out_share = held_out_share
        self.run = run
        self.phase = "live"
        self.feedback_flows = True
        self.counters = Counters()
        self.decisions: list[Decision] = []
        self.freshness: list[Freshness] = []
        self.interactions: list[InteractionRow] = []
        self.organic: list[InteractionRow] = []  # of these, what was found without a slate
        self.position = 0  # of the newest acknowledgement
        self.served_position = 0  # of the newest decision
        self.clock_ms = self.starts_at_ms
        self._history_titles = world.title_count(self.starts_at_ms)
        self._history_viewers = world.viewer_count(first_day - 1)
        self._announced = 0
        self._watched = watched
        self._due: list[tuple[int, int, Visit, Feedback, str | None]] = []  # a heap by arrival
        self._tie = 0
        self._began = time.perf_counter()
        self._probed = 0.0
        self._recent: deque[tuple[float, float]] = deque()  # (when, latency_ms)
        self._acknowledged: deque[tuple[float, int]] = deque()  # (when, events)
        self._stopping = asyncio.Event()
        # By arm and viewer: value, best. The figures of every second are made of these, at a cost that
        # stays small.
        self._sums: dict[str, dict[int, list[float]]] = defaultdict(dict)
        self._newest: deque[Decision] = deque()
        self._asked: dict[str, int] = defaultdict(int)  # decisions, by arm
        self.shown: dict[str, set[int]] = defaultdict(set)  # titles, by arm
        self.held_out_visits = 0
        self._visits = self._visits_from(first_day)

    # -- the catalogue --------------------------------------------------------------------------------------

    async def announce(self, until_ms: int) -> None:
        """PUT every title that is out by then and has not been announced."""
        count = self.world.title_count(until_ms)
        new, self._announced = range(self._announced, count), count
        # A gather of a few hundred at a time: the client bounds how many are under way.
        for first in range(new.start, new.stop, 256):
            await asyncio.gather(*(self._announce(title) for title in new[first - new.start :][:256]))

    async def _announce(self, title: int) -> None:
        one = self.world.title(title)
        body = {
            "title": one.name,
            "features": {"genre": one.genre, "minutes": round(one.minutes, 1)},
            "available_from": rfc3339(one.released_at_ms),
        }
        reply = await self._patiently("PUT", f"/v1/items/{one.title_id}", body)
        if reply is None or reply.status >= 300:
            self._refused(reply)
        else:
            self.counters.items += 1

    # -- visits ---------------------------------------------------------------------------------------------

    def _visits_from(self, day: int) -> Iterator[Visit]:
        while True:
            for visit in self.world.visits(day):
                if not self.world.held_out(visit.viewer, self.held_out_share):
                    yield visit
            day += 1

    async def live(self) -> None:
        """Visits at a steady rate until `stop`.

        A bound on how many are under way: a slow service holds the clock back instead of piling up calls.
        """
        places = asyncio.Semaphore(64)
        under_way: set[asyncio.Task[None]] = set()
        feedback = asyncio.create_task(self._deliver())
        next_at = time.perf_counter()
        try:
            while not self._stopping.is_set():
                await places.acquire()
                visit = next(self._visits)
                self.clock_ms = max(self.clock_ms, visit.at_ms)
                if self.world.title_count(self.clock_ms) > self._announced:
                    await self.announce(self.clock_ms)
                task = asyncio.create_task(self.visit(visit))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                task.add_done_callback(lambda _: places.release())
                next_at = max(next_at + 1.0 / self.rate, time.perf_counter() - 0.5)
                await asyncio.sleep(max(0.0, next_at - time.perf_counter()))
        finally:
            if under_way:
                await asyncio.wait(under_way)
            self._stopping.set()
            await feedback

    def stop(self) -> None:
        self._stopping.set()

    async def visit(self, visit: Visit, *, min_position: int | None = None, acknowledged: float = 0.0) -> None:
        """One visit: ask, look, react. With `min_position` the answer has to know that position."""
        seen = self._watched.get(visit.viewer, [])
        body: dict[str, Any] = {
            "user_id": viewer_id(visit.viewer),
            "n": SLATE_SIZE,
            "context": {"device": visit.device, "hour_band": visit.hour_band},
            "asked_at": rfc3339(visit.at_ms),
        }
        if seen:
            body["exclude"] = [title_id(title) for title in seen[-EXCLUDED_MAX:]]
        headers = {} if min_position is None else {"x-min-position": str(min_position)}
        phase = self.phase
        try:
            reply = await self.client.call("POST", "/v1/recommendations", body, headers)
        except CallFailed:
            self.counters.unavailable += 1
            return
        now = time.perf_counter()
        if reply.status == 503 and min_position is not None:
            self.counters.late_probes += 1
            self.freshness.append(Freshness(now - self._began, (now - acknowledged) * 1e3, 0))
            return
        if reply.status == 503:
            self.counters.unavailable += 1
            return
        if reply.status != 201:
            self._refused(reply)
            return
        answer = reply.json()
        model = answer["model"]
        self.served_position = max(self.served_position, model["position"])
        if min_position is not None:
            known = int(model["position"] >= min_position)
            self.freshness.append(Freshness(now - self._began, (now - acknowledged) * 1e3, known))
        self._react(visit, answer, phase, latency_ms=reply.seconds * 1e3, waited=min_position is not None)

    def _react(self, visit: Visit, answer: dict[str, Any], phase: str, *, latency_ms: float, waited: bool) -> None:
        world = self.world
        slate = [int(item["item_id"][1:]) for item in answer["items"]]
        watched = set(self._watched.get(visit.viewer, ()))
        feedback = world.respond(visit, slate, watched)
        self.shown[answer["model"]["arm"]].update(slate)
        rewards = world.expected_rewards(visit.viewer, visit.at_ms, device=visit.device, watched=watched)
        seen = examination(visit.device, SLATE_SIZE)
        best = np.argsort(-rewards, kind="stable")[:SLATE_SIZE]
        out = [title if title < len(rewards) else -1 for title in slate]  # not released yet: worth nothing
        value = sum(float(rewards[title] * look) for title, look in zip(out, seen, strict=False) if title >= 0)
        now = time.perf_counter()
        self.counters.decisions += 1
        if not waited:  # a decision that waited for a position measures freshness, not latency
            self._recent.append((now, latency_ms))
        self._measured(
            Decision(
                wall_s=now - self._began,
                at_ms=visit.at_ms,
                phase=phase,
                viewer=visit.viewer,
                joined_live=int(visit.viewer >= self._history_viewers),
                arm=answer["model"]["arm"],
                n=len(slate),
                value=value,
                best=float(np.sum(rewards[best] * seen)),
                random=float(np.mean(rewards) * np.sum(seen)),
                observed=sum(one.value or 0.0 for one in feedback if one.position is not None),
                new_titles=sum(title >= self._history_titles for title in slate),
                best_new_titles=int(np.sum(best >= self._history_titles)),
                latency_ms=-1.0 if waited else latency_ms,
                staleness_ms=float(answer["model"]["staleness_ms"]),
            )
        )
        if phase == "held_out":
            self.counters.withheld += len(feedback)
            return
        for one in feedback:
            if one.event_type == "watch" and (one.value or 0.0) >= 0.25:
                self._watched.setdefault(visit.viewer, []).append(one.title)
            if one.arrives_at_ms is None:
                self.counters.lost += 1
                continue
            decision_id = None if one.position is None else answer["decision_id"]
            self._tie += 1
            heapq.heappush(self._due, (one.arrives_at_ms, self._tie, visit, one, decision_id))

    def _measured(self, decision: Decision) -> None:
        self.decisions.append(decision)
        if decision.phase == "held_out":
            return
        self._asked[decision.arm] += 1
        sums = self._sums[decision.arm].setdefault(decision.viewer, [0.0, 0.0])
        sums[0] += decision.value
        sums[1] += decision.best
        self._newest.append(decision)

    async def held_out(self, visits: int) -> None:
        """Ask for viewers who never sent feedback, at this moment; none is sent now either."""
        self.phase = "held_out"
        day = self.world.day_of(self.clock_ms)
        known = range(self.world.viewer_count(day))
        viewers = [one for one in known if self.world.held_out(one, self.held_out_share)]
        places = asyncio.Semaphore(8)

        async def ask(viewer: int, number: int) -> None:
            async with places:
                await self.visit(Visit(viewer, self.clock_ms, self.world.usual_device(viewer), day=day, number=number))

        asked = [(viewer, 100 + number) for number in range(1 + visits // len(viewers)) for viewer in viewers]
        await asyncio.gather(*(ask(viewer, number) for viewer, number in asked[:visits]))

    # -- feedback -------------------------------------------------------------------------------------------

    async def _deliver(self) -> None:
        """Send what is due, in batches, every 50 ms; whatever is due at the end, once more."""
        while not self._stopping.is_set():
            await asyncio.sleep(0.05)
            if self.feedback_flows:
                await self._flush()
        await self._flush()

    async def _flush(self) -> None:
        while self._due and self._due[0][0] <= self.clock_ms:
            batch = []
            while self._due and self._due[0][0] <= self.clock_ms and len(batch) < BATCH_MAX:
                batch.append(heapq.heappop(self._due))
            events = [self._event(*one[1:]) for one in batch]
            reply = await self._patiently("POST", "/v1/events", {"events": events})
            if reply is None or reply.status != 202:
                self._refused(reply)
                continue
            acknowledged = time.perf_counter()
            answer = reply.json()
            self.counters.events += answer["accepted"]
            self.counters.rejected += len(answer["rejected"])
            for one in answer["rejected"]:
                self.counters.problems[one["code"]] = self.counters.problems.get(one["code"], 0) + 1
            self._acknowledged.append((acknowledged, answer["accepted"]))
            self.position = max(self.position, answer["position"])
            for _, _, visit, one, _ in batch:
                self.interactions.append(interaction_row(visit, one))
                if one.position is None:
                    self.organic.append(self.interactions[-1])
            if acknowledged - self._probed >= PROBE_EVERY_S and not self._stopping.is_set():
                self._probed = acknowledged
                visit = next(self._visits)
                await self.visit(visit, min_position=answer["position"], acknowledged=acknowledged)

    def _event(self, tie: int, visit: Visit, feedback: Feedback, decision_id: str | None) -> dict[str, Any]:
        event: dict[str, Any] = {
            "event_id": f"{self.run}-{tie}",
            "event_type": feedback.event_type,
            "user_id": viewer_id(visit.viewer),
            "item_id": title_id(feedback.title),
            "occurred_at": rfc3339(feedback.occurred_at_ms),
            "context": {"device": visit.device, "hour_band": visit.hour_band},
        }
        if feedback.value is not None:
            event["value"] = feedback.value
        if decision_id is not None:
            event["decision_id"] = decision_id
        return event

    async def _patiently(self, method: str, path: str, body: Any) -> Reply | None:
        """For what must arrive: after a 503 or no answer it is sent again. None: given up."""
        for attempt in range(8):
            try:
                reply = await self.client.call(method, path, body)
            except CallFailed:
                reply = None
            if reply is not None and reply.status != 503:
                return reply
            wait_s = 0.1 * 2**attempt
            if reply is not None:
                wait_s = min(5.0, float(reply.headers.get("retry-after", wait_s)))
            await asyncio.sleep(min(5.0, wait_s))
        return None

    def _refused(self, reply: Reply | None) -> None:
        code = "no_answer" if reply is None else f"{reply.status}"
        if reply is not None and reply.headers.get("content-type", "").startswith("application/problem+json"):
            code = f"{reply.status} {reply.json().get('code', '')}"
        self.counters.problems[code] = self.counters.problems.get(code, 0) + 1

    # -- figures --------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, Any]:
        """The figures of the moment, for whoever watches."""
        now = time.perf_counter()
        for window in (self._recent, self._acknowledged):
            while window and window[0][0] < now - RECENT_S:
                window.popleft()
        span_s = max(1e-9, min(RECENT_S, now - self._began))
        latencies = [latency for _, latency in self._recent]
        while self._newest and self._newest[0].wall_s < now - self._began - RECENT_S:
            self._newest.popleft()
        waits = [one.waited_ms for one in self.freshness[-200:] if one.known]
        counters = self.counters
        recent_by_arm: dict[str, list[Decision]] = defaultdict(list)
        for one in self._newest:
            recent_by_arm[one.arm].append(one)
        return {
            "wall_s": round(now - self._began, 2),
            "clock": rfc3339(self.clock_ms),
            "phase": self.phase,
            "position": self.position,
            "served_position": self.served_position,
            "decisions": counters.decisions,
            "events": counters.events,
            "decisions_per_s": round(len(self._recent) / span_s, 1),
            "events_per_s": round(sum(n for _, n in self._acknowledged) / span_s, 1),
            "latency_ms": [percentile(latencies, 0.5), percentile(latencies, 0.99)],
            "freshness_ms": [percentile(waits, 0.5), percentile(waits, 0.99)],
            "unavailable": counters.unavailable,
            "late_probes": counters.late_probes,
            "lost": counters.lost,
            "withheld": counters.withheld,
            "problems": counters.problems,
            "catalogue": self.world.title_count(self.clock_ms),
            "shown_titles": {arm: len(titles) for arm, titles in sorted(self.shown.items())},
            "arms": {arm: self._so_far(arm) for arm in sorted(self._sums)},
            "recent_arms": {arm: _four(share_of_best(found)) for arm, found in sorted(recent_by_arm.items())},
        }

    def _so_far(self, arm: str) -> list[float]:
        sums = np.array(list(self._sums[arm].values()))
        found = clustered_ratio(sums[:, 0], sums[:, 1], np.arange(len(sums)))
        return [found.mean, found.low, found.high, self._asked[arm]]

    def save(self, folder: Path) -> None:
        """Write what was measured, and the reports that were acknowledged as interactions files."""
        folder.mkdir(parents=True, exist_ok=True)
        write_measurements(folder / "decisions.csv", self.decisions, Decision)
        write_measurements(folder / "freshness.csv", self.freshness, Freshness)
        for name, rows in (("interactions", self.interactions), ("organic", self.organic)):
            write_rows(folder / f"{name}.csv", INTERACTION_COLUMNS, sorted(rows, key=lambda row: row[2]))


def _four(found: Estimate) -> list[float]:
    return [found.mean, found.low, found.high, found.n]
