"""Plots as small SVG texts: lines with bands, bars, histograms; two series at most, told apart by colour and by name.

Colours are CSS classes of the page that holds the plot (report.css), so one drawing serves light and dark. Widths
are in the drawing's own units; 480 of them are legible on a phone and two plots fit side by side on a screen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 480, 288
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 30, 44


@dataclass(frozen=True, slots=True)
class Axis:
    """From data to the drawing. `ticks` are (value, label)."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    title: str
    log: bool = False

    def share(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        return (value - low) / (high - low) if high > low else 0.5


@dataclass(slots=True)
class Plot:
    """Collects marks; `svg()` gives the text. `alt` says in words what the plot shows."""

    x: Axis
    y: Axis
    alt: str
    _marks: list[str] = field(default_factory=list)
    _legend: list[tuple[str, str, str]] = field(default_factory=list)

    def _x(self, value: float) -> float:
        return round(LEFT + self.x.share(value) * (WIDTH - LEFT - RIGHT), 1)

    def _y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - min(1.0, max(0.0, self.y.share(value))) * (HEIGHT - TOP - BOTTOM), 1)

    def line(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        *,
        series: str,
        name: str,
        dots: Callable[[float, float], str] | None = None,
        style: str = "line",
    ) -> None:
        """A line through the points that are numbers; with `dots`, a dot on each that tells its figures on hover."""
        points = [(self._x(x), self._y(y), x, y) for x, y in zip(xs, ys, strict=True) if not math.isnan(y)]
        path = " ".join(f"{a},{b}" for a, b, _, _ in points)
        self._marks.append(f'<polyline class="{style} {series}" points="{path}"/>')
        if dots is not None:
            for a, b, x, y in points:
                title = escape(dots(x, y))
                self._marks.append(
                    f'<circle class="dot {series}" cx="{a}" cy="{b}" r="3.2"><title>{title}</title></circle>'
                )
        if name:
            self._legend.append((series, style, name))

    def band(self, xs: Sequence[float], low: Sequence[float], high: Sequence[float], *, series: str) -> None:
        known = [(x, a, b) for x, a, b in zip(xs, low, high, strict=True) if not (math.isnan(a) or math.isnan(b))]
        over = [f"{self._x(x)},{self._y(b)}" for x, _, b in known]
        under = [f"{self._x(x)},{self._y(a)}" for x, a, _ in reversed(known)]
        self._marks.insert(0, f'<polygon class="band {series}" points="{" ".join(over + under)}"/>')

    def bar(self, left: float, right: float, value: float, *, series: str, title: str, label: str = "") -> None:
        """A bar from 0 to value between two places of the x axis."""
        a, b, top, base = self._x(left), self._x(right), self._y(value), self._y(self.y.low)
        width = max(1.0, round(b - a - 1.5, 1))
        self._marks.append(
            f'<rect class="bar {series}" x="{a}" y="{top}" width="{width}" height="{max(0.0, round(base - top, 1))}" '
            f'rx="1.5"><title>{escape(title)}</title></rect>'
        )
        if label:
            self._marks.append(f'<text class="value" x="{a + width / 2:.1f}" y="{top - 5}">{escape(label)}</text>')

    def upright(self, at: float, label: str, *, row: int = 0) -> None:
        """A vertical rule with a name at its top."""
        a = self._x(at)
        right = a > WIDTH * 0.72
        anchor, shift = ("end", -4) if right else ("start", 4)
        self._marks.append(f'<line class="rule" x1="{a}" x2="{a}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        self._marks.append(
            f'<text class="note" x="{a + shift}" y="{TOP + 11 + 14 * row}" '
            f'text-anchor="{anchor}">{escape(label)}</text>'
        )

    def level(self, at: float, label: str) -> None:
        """A horizontal rule with a name at its left."""
        b = self._y(at)
        self._marks.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{b}" y2="{b}"/>')
        self._marks.append(f'<text class="note" x="{LEFT + 5}" y="{b - 5}">{escape(label)}</text>')

    def svg(self) -> str:
        parts = [f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.alt)}">']
        for value, label in self.y.ticks:
            b = self._y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{b}" y2="{b}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 7}" y="{b + 4}" text-anchor="end">{escape(label)}</text>')
        for value, label in self.x.ticks:
            a = self._x(value)
            anchor = "end" if a + 3.6 * len(label) > WIDTH else "middle"
            parts.append(
                f'<text class="tick" x="{a}" y="{HEIGHT - BOTTOM + 17}" text-anchor="{anchor}">{escape(label)}</text>'
            )
        base = HEIGHT - BOTTOM
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f'<text class="title" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(self.x.title)}</text>'
        )
        parts.extend(self._marks)
        at = float(LEFT)
        for series, style, name in self._legend:
            parts.append(f'<line class="{style} {series}" x1="{at}" x2="{at + 18}" y1="14" y2="14"/>')
            parts.append(f'<text class="key" x="{at + 24}" y="18">{escape(name)}</text>')
            at += 24 + 7.1 * len(name) + 18
        if not self._legend:
            parts.append(f'<text class="key" x="{LEFT - 40}" y="18">{escape(self.y.title)}</text>')
        parts.append("</svg>")
        return "".join(parts)


def linear(low: float, high: float, title: str, label: Callable[[float], str], *, ticks: int = 5) -> Axis:
    """An axis over [low, high], widened to round numbers."""
    if high <= low:
        high = low + 1.0
    step = _round_step((high - low) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    values = [round(step * k, 10) for k in range(first, last + 1)]
    return Axis(values[0], values[-1], [(value, label(value)) for value in values], title)


def logarithmic(low: float, high: float, title: str, label: Callable[[float], str]) -> Axis:
    """An axis over decades, marked at 1, 2 and 5 where there is room."""
    low = max(low, 1e-9)
    steps = [
        m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)
    ]
    inside = [step for step in steps if low <= step <= high]
    if len(inside) > 9:
        inside = [step for step in inside if math.log10(step) % 1.0 < 1e-9]
    return Axis(low, high, [(step, label(step)) for step in inside], title, log=True)


def _round_step(step: float) -> float:
    scale = 10.0 ** math.floor(math.log10(step))
    return next(m * scale for m in (1, 2, 2.5, 5, 10) if m * scale >= step * 0.999)
