"""Both arms' slates for the same visits of the simulated video service, each worth what the world says: in pairs.

    python benchmarks/closed_loop.py [--seeds 7,11] [--visits 7500] [--drift 1] [--settings JSON] [--artifacts DIR]

A world per seed: twelve days of history under a plain logging policy, an artifact trained on them, then visits through
the service's own fold and decisions, in this process. Viewers are answered by their arm, as live; the other arm's slate
is decided as well and not shown. So each visit gives the exact worth of both (the expected watched share, in % of the
best slate's), and their difference has little noise. Frozen means trained parameters that follow the viewers' own
states. `--settings` are a service's settings, to compare them; trained artifacts are kept in `--artifacts`.
"""

import argparse
import heapq
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from online.artifact import Artifact, read_artifact
from online.fold import Fold
from online.recommendation.decide import Champion, Decider, Request, arm_of
from online.records import Begin, Decision, Event, ItemUpsert, Record
from online.settings import Settings, settings_text
from online.state import State
from simulations.demo_context import ATTRIBUTION_WINDOW_S, CHAMPION_SHARE, HELD_OUT_SHARE, HISTORY_DAYS
from simulations.history import write_history
from simulations.population import EXCLUDED_MAX, SLATE_SIZE
from simulations.video_records import Feedback, Visit, examination, title_id, viewer_id
from simulations.video_settings import DAY_MS, WorldSettings
from simulations.video_world import VideoWorld
from simulations.viewers import watched_before

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ("live", "frozen", "random", "best", "new shown", "new best")
EPOCHS = 20  # at most, of an artifact's training
BLOCK = 1_500


class Service:
    """A service's fold and decisions without its processes: one record after the other."""

    def __init__(self, settings: Settings, artifact: Artifact, began_ms: int) -> None:
        self.settings = settings
        self.state = State(settings, artifact)
        self._fold = Fold(self.state)
        self._decider = Decider(settings)
        self._champion = Champion(settings, artifact)
        self.position = 0
        self.put(Begin(1, artifact.id, settings.seed, settings_text(settings), began_ms))

    def put(self, *records: Record) -> None:
        first = self.position + 1
        self.position += len(records)
        self._fold.entries(list(enumerate(records, first)))

    def slates(self, asked: Request) -> tuple[list[list[int]], Decision]:
        """The titles that each arm would show, live first, and the record of the viewer's own."""
        arm = arm_of(self.settings, asked.user_id)
        shown, decision = [], None
        for number, champion in enumerate((None, self._champion)):
            slate = self._decider.decide(self.state.views, champion, asked)
            ids = [self.state.item_id(row) for row in slate.rows]
            shown.append([int(one[1:]) for one in ids])
            if number == arm:
                decision = slate.recorded(
                    asked,
                    item_ids=ids,
                    arm=arm,
                    read_position=self.position,
                    artifact_id="",
                    received_ms=asked.at_ms,
                    staleness_ms=0,
                    client="",
                )
        assert decision is not None
        return shown, decision


def visits_from(world: VideoWorld, day: int) -> Iterator[Visit]:
    """Everyone who reports, from that day on."""
    while True:
        yield from (one for one in world.visits(day) if not world.held_out(one.viewer, HELD_OUT_SHARE))
        day += 1


def event_of(number: int, visit: Visit, feedback: Feedback, arrived_ms: int, decision_id: str | None) -> Event:
    """A report as the log would hold it."""
    return Event(
        event_id=f"e{number}",
        event_type=feedback.event_type,
        user_id=viewer_id(visit.viewer),
        item_id=title_id(feedback.title),
        at_ms=feedback.occurred_at_ms,
        received_ms=arrived_ms,
        value=feedback.value,
        decision_id=decision_id,
        context={"device": visit.device, "hour_band": visit.hour_band},
    )


Respond = Callable[[Visit, list[int], set[int]], list[Feedback]]


def play(
    world: VideoWorld, service: Service, history: Path, visits: int, *, respond: Respond | None = None
) -> np.ndarray:
    """[visits, COLUMNS]: what the slates of each visit are worth, and how many of their titles are new.

    respond: what is reported of a visit, its slate and what was watched before, where it is not what the world says.
    """
    respond = respond or world.respond
    began_ms = world.settings.starts_at_ms + HISTORY_DAYS * DAY_MS
    known = world.title_count(began_ms)
    watched = watched_before(history)
    due: list[tuple[int, int, Visit, Feedback, str | None]] = []
    announced, reports, found = 0, 0, np.zeros((visits, len(COLUMNS)))
    for number, visit in zip(range(visits), visits_from(world, HISTORY_DAYS), strict=False):
        out = world.title_count(max(visit.at_ms, began_ms))
        for title in map(world.title, range(announced, out)):
            about: dict[str, str | int | float | bool | list[str]]
            about = {"genre": title.genre, "minutes": round(title.minutes, 1)}
            known_from = title.released_at_ms
            service.put(ItemUpsert(title.title_id, visit.at_ms, title.name, about, available_from_ms=known_from))
        announced = out
        while due and due[0][0] <= visit.at_ms:
            arrived_ms, report, before, feedback, decision_id = heapq.heappop(due)
            service.put(event_of(report, before, feedback, arrived_ms, decision_id))
        seen = watched.setdefault(visit.viewer, [])
        asked = Request(
            decision_id=f"d{number}",
            user_id=viewer_id(visit.viewer),
            n=SLATE_SIZE,
            at_ms=visit.at_ms,
            context={"device": visit.device, "hour_band": visit.hour_band},
            exclude=tuple(map(title_id, seen[-EXCLUDED_MAX:])) or None,
        )
        slates, decision = service.slates(asked)
        rewards = world.expected_rewards(visit.viewer, visit.at_ms, device=visit.device, watched=set(seen))
        looks = examination(visit.device, SLATE_SIZE)
        best = np.argsort(-rewards, kind="stable")[:SLATE_SIZE]
        found[number] = (
            *(float(np.sum(rewards[slate] * looks[: len(slate)])) for slate in slates),
            float(np.mean(rewards) * np.sum(looks)),
            float(np.sum(rewards[best] * looks)),
            np.mean(np.array(slates[0]) >= known),
            np.mean(best >= known),
        )
        service.put(decision)
        for feedback in respond(visit, slates[decision.arm], set(seen)):
            if feedback.event_type == "watch" and (feedback.value or 0.0) >= 0.25:
                seen.append(feedback.title)
            if feedback.arrives_at_ms is not None:
                reports += 1
                named = None if feedback.position is None else decision.decision_id
                heapq.heappush(due, (feedback.arrives_at_ms, reports, visit, feedback, named))
    return found


def row(name: str, found: np.ndarray) -> str:
    """A line of the table: worth in % of the best slates'; the difference with its 95 % interval, visits apart."""
    best = found[:, 3].sum()
    live, frozen, random = (100.0 * found[:, k].sum() / best for k in range(3))
    apart = found[:, 0] - found[:, 1]
    error = 196.0 * float(apart.std()) * len(apart) ** 0.5 / best
    new = f"{100 * found[:, 4].mean():5.1f} {100 * found[:, 5].mean():5.1f}"
    return f"{name:>16} {live:6.2f} {frozen:6.2f} {live - frozen:+6.2f} ± {error:.2f} {random:6.1f}   {new}"


def trained(seed: int, world: VideoWorld, folder: Path) -> tuple[Artifact, Path]:
    """The history of that world and an artifact of it, made once."""
    history, artifact = folder / f"history-{seed}", folder / f"artifact-{seed}"
    if not (history / "items.csv").exists():
        write_history(world, history, days=HISTORY_DAYS)
    if not (artifact / "manifest.json").exists():
        command = [sys.executable, "-m", "api.command", "pretrain", "recommendation", "--out", str(artifact)]
        command += ["--interactions", str(history / "interactions.csv"), "--items", str(history / "items.csv")]
        command += ["--epochs", str(EPOCHS), "--seed", str(seed)]  # no time limit: a busy machine must not matter
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return read_artifact(artifact), history / "interactions.csv"


def main() -> None:
    """A line for every seed, then blocks of visits and all of them together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="7,11")
    parser.add_argument("--visits", type=int, default=7_500)
    parser.add_argument("--drift", type=float, default=1.0)
    parser.add_argument("--settings", default="{}")
    parser.add_argument("--artifacts", type=Path, default=ROOT / "build" / "closed_loop")
    options = parser.parse_args()
    chosen = {"champion_share": CHAMPION_SHARE, "attribution_window_s": ATTRIBUTION_WINDOW_S}
    settings = msgspec.convert(chosen | msgspec.json.decode(options.settings), Settings)
    print(
        f"in % of the best slates; {options.visits:,} visits a world, about two days; new: % of titles shown, of best"
    )
    print(f"{'':>16}   live frozen   difference  random   new  best")
    everything = []
    for seed in map(int, options.seeds.split(",")):
        world = VideoWorld(WorldSettings(seed=seed, drift=options.drift))
        artifact, history = trained(seed, world, options.artifacts / f"drift-{options.drift:g}")
        began_ms = world.settings.starts_at_ms + HISTORY_DAYS * DAY_MS
        found = play(world, Service(settings, artifact, began_ms), history, options.visits)
        print(row(f"world {seed}", found), flush=True)
        everything.append(found)
    for first in range(0, options.visits, BLOCK):
        block = np.concatenate([found[first : first + BLOCK] for found in everything])
        print(row(f"visits to {min(first + BLOCK, options.visits):,}", block))
    print(row("all", np.concatenate(everything)))
    if len(everything) > 1:
        apart = [100.0 * (found[:, 0].sum() - found[:, 1].sum()) / found[:, 3].sum() for found in everything]
        error = 1.96 * np.std(apart, ddof=1) / len(apart) ** 0.5
        print(
            f"over {len(apart)} worlds {np.mean(apart):+.2f} ± {error:.2f}, from {min(apart):+.2f} to {max(apart):+.2f}"
        )


if __name__ == "__main__":
    main()
