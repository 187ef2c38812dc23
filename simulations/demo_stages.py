"""The stages of a demo, in their order: each does what a user would do, in a process of its own or over HTTP."""

from __future__ import annotations

import json
import queue
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from simulations.demo_context import (
    ATTRIBUTION_WINDOW_S,
    CHAMPION_SHARE,
    HELD_OUT_SHARE,
    HELD_OUT_VISITS,
    HISTORY_DAYS,
    MINUTES,
    PRETRAIN_MINUTES,
    Demo,
    DemoFailed,
    made,
)
from simulations.demo_fares import begin_travellers, end_travellers
from simulations.demo_service import act, get, monitors
from simulations.history import write_history
from simulations.lag import LAGS, measure_lags
from simulations.measurements import read_decisions, read_freshness
from simulations.processes import Child, lines_of, next_line
from simulations.results import LEARNING_OFF, LEARNING_ON, Reproduction
from simulations.video_world import VideoWorld


def begin_kernels(demo: Demo, stack: ExitStack) -> list[Child]:
    """A first start on a machine compiles the service's kernels: beside what needs to be done anyway."""
    children = []
    for part in ("fold", "decide"):
        child = Child("kernels", ["-m", "online.kernels", part], talk=demo.folder / f"kernels-{part}.log")
        stack.callback(child.stop, timeout_s=10.0)
        children.append(child)
    return children


def await_kernels(demo: Demo, children: list[Child]) -> None:
    """Until they are compiled; where they were before, that takes no time."""
    demo.screen.stage("kernels")
    for child in children:
        while child.process.poll() is None:
            time.sleep(0.1)
            demo.screen.still("compiling, once on a machine")
        child.check()
    demo.results.stages.append(("kernels", demo.screen.done("compiled, and kept for later starts")))


def write_past(demo: Demo) -> None:
    """The days before, in the world under a plain logging policy, as files."""
    demo.screen.stage("history")
    world = VideoWorld(demo.world)
    demo.history = write_history(world, demo.folder / "history", days=HISTORY_DAYS, progress=demo.screen.still)
    viewers, titles = world.viewer_count(HISTORY_DAYS - 1), world.title_count(demo.history.until_ms - 1)
    text = f"{demo.history.events:,} events of {HISTORY_DAYS} days, {viewers:,} viewers, {titles:,} titles"
    demo.results.facts["history"] = text
    demo.results.stages.append(("history", demo.screen.done(text)))


def pretrain(demo: Demo) -> None:
    """`perennial pretrain recommendation` on the history."""
    history = made(demo.history)
    demo.artifact = demo.folder / "artifact"
    demo.screen.stage("pretrain")
    arguments = ["-m", "api.command", "pretrain", "recommendation", "--interactions", str(history.interactions)]
    arguments += ["--items", str(history.items), "--out", str(demo.artifact)]
    minutes = max(0.1, PRETRAIN_MINUTES * min(1.0, demo.minutes / MINUTES))
    arguments += ["--minutes", f"{minutes:.2f}", "--seed", str(demo.results.seed)]
    child = Child("pretrain", arguments, talk=demo.folder / "pretrain.log")
    try:
        while child.process.poll() is None:
            time.sleep(0.25)
            demo.screen.still(child.last_line())
        child.check()
    finally:
        child.stop(timeout_s=10.0)
    manifest = json.loads((demo.artifact / "manifest.json").read_text(encoding="utf-8"))
    validation = (manifest.get("metrics") or {}).get("validation") or {}
    ndcg = validation.get("ndcg@10")
    quality = "" if ndcg is None else f", validation NDCG@10 {ndcg:.3f}"
    demo.results.stages.append(("pretrain", demo.screen.done(f"artifact in {demo.artifact}{quality}")))


def up(demo: Demo, stack: ExitStack) -> Child:
    """`perennial up` with that artifact; it is stopped when the demo ends, however it ends."""
    demo.screen.stage("up")
    settings = demo.folder / "settings.json"
    chosen = {
        "seed": demo.results.seed,
        "champion_share": CHAMPION_SHARE,
        "attribution_window_s": ATTRIBUTION_WINDOW_S,
    }
    settings.write_text(json.dumps(chosen, indent=1) + "\n", encoding="utf-8")
    demo.results.facts["settings"] = json.dumps(chosen)
    arguments = ["-m", "api.command", "up", "--json", "--home", str(demo.home), "--port", str(demo.port)]
    arguments += ["--artifact", str(made(demo.artifact)), "--artifact", str(made(demo.pricing_artifact))]
    arguments += ["--settings", str(settings)]
    service = Child("up", arguments, talk=demo.folder / "up.log")
    stack.callback(service.stop, timeout_s=60.0)
    lines = lines_of(service)
    while True:
        try:
            line = lines.get(timeout=0.25)
        except queue.Empty:
            demo.screen.still(service.last_line())
            continue
        if line is None:
            service.process.wait()
            service.check()
            raise DemoFailed(f"the service ended before it was ready; see {service.talk}")
        address = json.loads(line)
        break
    demo.url, demo.log_url = address["url"], address["log_url"]
    demo.results.facts["artifact"] = address["artifact"]
    demo.results.facts["artifact of fares"] = address["pricing_artifact"]
    demo.results.stages.append(("up", demo.screen.done(f"{demo.url}, artifact {address['artifact']}")))
    return service


def watch_viewers(demo: Demo, stack: ExitStack) -> None:
    """Viewers and travellers use the service as they like; at the end, with the last flight gone, viewers do with
    learning on and off in turn."""
    total_s = demo.minutes * 60.0
    turn_s = min(8.0, total_s / 8)
    alone_s = total_s - 4 * turn_s
    travellers = begin_travellers(demo, stack, seconds=0.75 * alone_s)
    freezes = act(demo, "resume", "demo: are acts taken?")  # while learning is on, it changes nothing
    demo.results.learning_off_means = (
        "learning frozen by an act, the same feedback flowing" if freezes else "feedback held back, so nothing to learn"
    )
    viewers = Child("viewers", viewers_arguments(demo, rate=demo.rate), talk=demo.folder / "viewers.log", orders=True)
    stack.callback(viewers.stop, timeout_s=30.0)
    lines = lines_of(viewers)
    demo.screen.stage("viewers")

    def until(at_s: float) -> float:
        """Show what comes until that many seconds of the viewers' own clock. -> that clock"""
        while True:
            line = next_line(lines, viewers)
            if line is None:
                raise DemoFailed(f"the viewers ended early; see {viewers.talk}")
            figures = json.loads(line)
            demo.screen.figures(figures, monitors(demo, figures["wall_s"]), travellers.look())
            if figures["wall_s"] >= at_s:
                return float(figures["wall_s"])

    try:
        now_s = until(alone_s)
        while not travellers.done:
            now_s = until(now_s + 1.0)
        end_travellers(demo, travellers)
        begun_s = now_s
        for turn in range(4):
            on = turn % 2 == 0
            _learning(demo, viewers, on=on, freezes=freezes)
            # A pause between the turns belongs to neither: what was under way ends, what was held back flows.
            viewers.order(json.dumps({"do": "phase", "name": "between"}).encode())
            until(begun_s + turn * turn_s + min(1.0, turn_s / 4))
            viewers.order(json.dumps({"do": "phase", "name": LEARNING_ON if on else LEARNING_OFF}).encode())
            until(begun_s + (turn + 1) * turn_s)
    finally:
        if freezes:
            _learning(demo, viewers, on=True, freezes=True)
    held_out = round(HELD_OUT_VISITS * min(1.0, demo.minutes))
    viewers.order(json.dumps({"do": "stop", "held_out": held_out}).encode())
    last: dict[str, Any] = {}
    while (line := next_line(lines, viewers)) is not None:
        last = json.loads(line)
        demo.screen.still("held-out viewers, who never sent feedback")
    viewers.process.wait()
    viewers.check()
    results = demo.results
    results.decisions = read_decisions(demo.folder / "viewers" / "decisions.csv")
    results.freshness = read_freshness(demo.folder / "viewers" / "freshness.csv")
    results.catalogue, results.shown_titles = last["catalogue"], last["shown_titles"]
    if not results.decisions:
        raise DemoFailed(f"no slate was answered; see {viewers.talk} and {demo.folder / 'up.log'}")
    problems = ", ".join(f"{code}: {n}" for code, n in last["problems"].items())
    results.facts["viewers"] = (
        f"{last['decisions']:,} slates, {last['events']:,} events acknowledged, {last['unavailable']} slates refused, "
        f"{last['late_probes']} probes told to come back, {last['lost']:,} reports lost by the world's own chance"
        + (f"; problems {problems}" if problems else "")
    )
    text = f"{last['decisions']:,} slates, {last['events']:,} events"
    results.stages.append(("viewers", demo.screen.done(text + (f"; problems {problems}" if problems else ""))))


def check_state(demo: Demo) -> None:
    """The service's own words about where it is, and what it thinks of its experiment."""
    state = get(demo, "/v1/state")
    counted = {name: state[name] for name in ("received", "applied", "duplicate", "late", "rejected")}
    demo.results.facts["events by outcome"] = ", ".join(f"{name} {n:,}" for name, n in counted.items())
    experiment = get(demo, "/v1/experiment")
    change = experiment["difference"]
    if change["mean"] is not None:
        demo.results.facts["the service's own experiment"] = (
            f"live minus champion {change['mean']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}] "
            f"({change['method']}): {experiment['verdict']}"
        )


@dataclass(frozen=True)
class SecondFold:
    """A second fold under way, and what the service says its result must be."""

    child: Child
    position: int
    digest: str


def begin_second_fold(demo: Demo, stack: ExitStack) -> SecondFold:
    """Fold the log again, in a process that shares nothing with the service but the artifact and the log."""
    state = get(demo, "/v1/state")
    if state["digest"] is None:
        raise DemoFailed("the learner did not answer with its digest within its limit; see up.log")
    arguments = ["-m", "simulations.refolding", "--home", str(demo.home), "--log-url", demo.log_url]
    child = Child("fold again", [*arguments, "--position", str(state["position"])], talk=demo.folder / "refold.log")
    stack.callback(child.stop, timeout_s=10.0)
    return SecondFold(child, state["position"], state["digest"])


def fold_again(demo: Demo, second: SecondFold) -> None:
    """Compare the two digests, of the running service and of the second fold."""
    demo.screen.stage("fold again")
    while second.child.process.poll() is None:
        time.sleep(0.1)
        demo.screen.still(f"{second.position:,} records")
    second.child.check()
    answer = json.loads(second.child.results.read())
    found = Reproduction(second.position, second.digest, answer["digest"], answer["seconds"])
    demo.results.reproduction = found
    demo.results.facts |= {
        "log position": f"{found.position:,}",
        "state digest, served": found.served,
        "state digest, folded again": found.refolded,
    }
    rate = found.position / max(found.seconds, 1e-9)
    text = f"{found.position:,} records, {rate:,.0f}/s: {'the same digest' if found.identical else 'ANOTHER DIGEST'}"
    demo.results.stages.append(("fold again", demo.screen.done(text)))


def lag(demo: Demo) -> None:
    """How good the model would have been on this run's stream, had its parameters been allowed to age.

    Meanwhile the second fold runs in its own process.
    """
    demo.screen.stage("lag")
    results = demo.results
    results.lags, results.lag_note = measure_lags(
        history=made(demo.history),
        stream=demo.folder / "viewers" / "organic.csv",
        artifact=made(demo.artifact),
        folder=demo.folder / "lag",
        still=demo.screen.still,
        lags=LAGS if demo.minutes >= 1.0 else LAGS[1::2],
    )
    text = ", ".join(f"{point.label} {point.hit_rate:.3f}" for point in results.lags) or results.lag_note
    results.stages.append(("lag", demo.screen.done(f"HR@10 by refresh: {text}" if results.lags else text)))


def viewers_arguments(demo: Demo, *, rate: float) -> list[str]:
    arguments = ["-m", "simulations.viewers", "--url", demo.url, "--out", str(demo.folder / "viewers")]
    arguments += ["--seed", str(demo.world.seed), "--drift", str(demo.world.drift), "--orders"]
    arguments += ["--history-days", str(HISTORY_DAYS), "--history", str(made(demo.history).interactions)]
    return [*arguments, "--rate", str(rate), "--held-out", str(HELD_OUT_SHARE), "--run", demo.run]


def _learning(demo: Demo, viewers: Child, *, on: bool, freezes: bool) -> None:
    if freezes:
        act(demo, "resume" if on else "freeze", "demo: latency with learning on and off")
    else:
        viewers.order(json.dumps({"do": "feedback", "on": on}).encode())
