"""What a demo shows while it runs: a live view on a terminal, a plain line now and then elsewhere. All on stderr."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from simulations.measurements import ARM_NAMES, CHAMPION, LIVE

PLAIN_LINE_S: Final = 10.0
_COLOURS: Final = {LIVE: "blue", CHAMPION: "dark_orange"}
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_BAR: Final = 40


class Screen:
    """Stages as they pass, then the live view. `with Screen() as screen:`"""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.terminal = self.console.is_terminal
        self._live: Live | None = None
        self._stage = ""
        self._began = time.monotonic()
        self._said = 0.0
        self._curve: dict[str, deque[float]] = {arm: deque(maxlen=60) for arm in (LIVE, CHAMPION)}

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    # Stages

    def stage(self, name: str) -> None:
        """A stage begins."""
        self.close()
        self._stage, self._began, self._said = name, time.monotonic(), time.monotonic()
        if self.terminal:
            self._live = Live(Text(f"… {name}"), console=self.console, refresh_per_second=4, transient=True)
            self._live.start()

    def still(self, text: str) -> None:
        """How the stage gets on."""
        elapsed = time.monotonic() - self._began
        if self._live is not None:
            line = Text(f"… {self._stage}  {elapsed:4.0f} s  ")
            line.append(text, style="dim")
            line.truncate(self.console.width, overflow="ellipsis")
            self._live.update(line)
        elif time.monotonic() - self._said >= PLAIN_LINE_S:
            self._said = time.monotonic()
            self.say(f"    {self._stage}: {elapsed:.0f} s  {text}")

    def done(self, text: str) -> float:
        """The stage is over: its one line. -> its seconds"""
        seconds = time.monotonic() - self._began
        self.close()
        self.say(f"{self._stage:14} {seconds:6.1f} s  {text}")
        return seconds

    # The live view

    def figures(self, figures: dict[str, Any], facts: dict[str, str], fares: dict[str, Any] | None = None) -> None:
        """The figures of the moment; `fares` are the travellers'."""
        for arm, curve in self._curve.items():
            recent = figures["recent_arms"].get(arm)
            if recent and not math.isnan(recent[0]):
                curve.append(recent[0])
        if self.terminal:
            view = self._view(figures, facts, fares or {})
            if self._live is None:
                self._live = Live(view, console=self.console, refresh_per_second=4, transient=True)
                self._live.start()
            self._live.update(view)
        elif time.monotonic() - self._said >= PLAIN_LINE_S:
            self._said = time.monotonic()
            self.say("    " + plain_line(figures, facts))
            if fares:
                self.say("    " + fares_line(fares))

    def _view(self, figures: dict[str, Any], facts: dict[str, str], fares: dict[str, Any]) -> Panel:
        arms = Table.grid(padding=(0, 1))
        for arm in (CHAMPION, LIVE):
            mean, low, high, n = figures["arms"].get(arm, [math.nan, math.nan, math.nan, 0])
            name, colour = ARM_NAMES[arm], _COLOURS[arm]
            arms.add_row(Text(name, style=colour), _bar(mean, colour), Text(_share(mean, low, high)), Text(f"{n:,}"))
        for arm in (CHAMPION, LIVE):
            arms.add_row(Text("last 10 s", style="dim"), Text(self._spark(arm), style=_COLOURS[arm]))
        numbers = Table.grid(padding=(0, 3))
        for pair in _pairs(figures, facts):
            numbers.add_row(*(Text.assemble((f"{name} ", "dim"), value) for name, value in pair))
        title = f"{figures['clock'][:16].replace('T', ' ')} in the simulated world · {figures['phase']}"
        note = Text("share of the best slate's true reward, 95 % intervals by viewer", style="dim")
        parts = [arms, note, Text(""), *([_fares_view(fares), Text("")] if fares else []), numbers]
        return Panel(Group(*parts), title=title, title_align="left", border_style="dim")

    def _spark(self, arm: str) -> str:
        known = [x for curve in self._curve.values() for x in curve]
        if not known:
            return ""
        low, high = min(known), max(known)
        scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
        return "".join(_BLOCKS[round((x - low) * scale)] for x in list(self._curve[arm])[-_BAR:])


def _fares_view(fares: dict[str, Any]) -> Group:
    arms = Table.grid(padding=(0, 1))
    for arm in (CHAMPION, LIVE):
        share = fares["arms"].get(arm)
        name, colour = ARM_NAMES[arm], _COLOURS[arm]
        text = "-" if share is None else f"{share:.1f} %"
        arms.add_row(Text(name, style=colour), _bar(math.nan if share is None else share / 100.0, colour), Text(text))
    return Group(arms, Text(f"of what the exact optimum had taken by then; {_fares_clock(fares)}", style="dim"))


def _fares_clock(fares: dict[str, Any]) -> str:
    jump = fares["jump_day"]
    told = "" if jump is None else f", demand {'has jumped' if fares['day'] >= jump else 'will jump'} on day {jump}"
    return f"{fares['flights']} flights, day {fares['day']:.0f} of {fares['days']}{told}"


def fares_line(fares: dict[str, Any]) -> str:
    """How the travellers' two services stand, in one line."""
    shares = [
        f"{ARM_NAMES[arm]} " + ("-" if fares["arms"].get(arm) is None else f"{fares['arms'][arm]:.1f} %")
        for arm in (CHAMPION, LIVE)
    ]
    return " · ".join(["fares, of the optimum's takings so far", *shares, _fares_clock(fares)])


def _bar(mean: float, colour: str) -> Text:
    filled = 0 if math.isnan(mean) else min(_BAR, round(mean * _BAR))
    return Text("█" * filled, style=colour) + Text("░" * (_BAR - filled), style="dim")


def _share(mean: float, low: float, high: float) -> str:
    if math.isnan(mean):
        return "-"
    half = "" if math.isnan(low) else f" ± {50 * (high - low):.1f}"
    return f"{100 * mean:.1f} %{half}"


def _pairs(figures: dict[str, Any], facts: dict[str, str]) -> list[list[tuple[str, str]]]:
    fresh, latency = figures["freshness_ms"], figures["latency_ms"]
    cells = [
        ("decisions/s", f"{figures['decisions_per_s']:.0f}"),
        ("events/s", f"{figures['events_per_s']:.0f}"),
        ("log position", f"{figures['position']:,}"),
        ("freshness p50/p99", _two(fresh)),
        ("slate p50/p99", _two(latency)),
        ("refused", f"{figures['unavailable'] + sum(figures['problems'].values()):,}"),
        *facts.items(),
    ]
    return [cells[first : first + 3] for first in range(0, len(cells), 3)]


def _two(pair: list[float]) -> str:
    return "-" if math.isnan(pair[0]) else f"{pair[0]:.1f}/{pair[1]:.1f} ms"


def plain_line(figures: dict[str, Any], facts: dict[str, str]) -> str:
    """The figures of the moment in one line."""
    shares = []
    for arm in (CHAMPION, LIVE):
        mean, low, high, _ = figures["arms"].get(arm, [math.nan, math.nan, math.nan, 0])
        shares.append(f"{ARM_NAMES[arm]} {_share(mean, low, high)}")
    parts = [
        f"{figures['wall_s']:.0f} s",
        figures["phase"],
        *shares,
        f"{figures['decisions_per_s']:.0f} slates/s",
        f"{figures['events_per_s']:.0f} events/s",
        f"freshness {_two(figures['freshness_ms'])}",
        *(f"{name} {value}" for name, value in facts.items()),
    ]
    return " · ".join(parts)
