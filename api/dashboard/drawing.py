"""Charts that a worker draws itself: SVG in the page, styled by its classes, told in words for those who cannot see."""

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 200, 46, 8, 8, 20


class Line(NamedTuple):
    """Points in order; `kind` is a class of the style sheet, `a` or `b`; `low` and `high` make a band."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def figure(
    caption: str,
    note: str,
    lines: Sequence[Line],
    *,
    x_label: Callable[[float], str],
    y_label: Callable[[float], str],
    y_from: float | None = None,
    y_to: float | None = None,
) -> str:
    """The chart's HTML; what it shows stands in words below it."""
    drawn = [line for line in lines if line.points]
    told = "; ".join(f"{line.name} {y_label(line.points[0][1])} to {y_label(line.points[-1][1])}" for line in drawn)
    plot = _plot(drawn, x_label, y_label, y_from, y_to) if drawn else '<p class="quiet">nothing to draw yet</p>'
    key = "".join(f'<span class="key {line.kind}">{escape(line.name)}</span> ' for line in drawn)
    return (
        f'<figure class="chart"><figcaption>{escape(caption)} <span class="quiet">{escape(note)}</span></figcaption>'
        f'<div class="plot">{plot}</div><p class="reading">{key}<span class="quiet">{escape(told)}</span></p></figure>'
    )


def _plot(
    lines: Sequence[Line],
    x_label: Callable[[float], str],
    y_label: Callable[[float], str],
    y_from: float | None,
    y_to: float | None,
) -> str:
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points] + [y for line in lines for y in (*line.low, *line.high)]
    left, right = min(xs), max(xs)
    bottom = min(ys) if y_from is None else y_from
    top = max(ys) if y_to is None else max(y_to, *ys)
    if top <= bottom:
        top = bottom + (abs(bottom) * 0.1 or 1.0)

    def x(value: float) -> float:
        return LEFT + (value - left) / ((right - left) or 1.0) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (1.0 - (value - bottom) / (top - bottom)) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">']
    for share in (0.0, 0.5, 1.0):
        at = bottom + share * (top - bottom)
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(at):.1f}" y2="{y(at):.1f}"/>')
        parts.append(f'<text x="{LEFT - 4}" y="{y(at) + 4:.1f}" text-anchor="end">{escape(y_label(at))}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 4}">{escape(x_label(left))}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{escape(x_label(right))}</text>')
    for line in lines:
        if line.low:
            up = [f"{x(at):.1f},{y(value):.1f}" for (at, _), value in zip(line.points, line.high, strict=True)]
            down = [f"{x(at):.1f},{y(value):.1f}" for (at, _), value in zip(line.points, line.low, strict=True)]
            parts.append(f'<path class="band {line.kind}" d="M{"L".join([*up, *reversed(down)])}Z"/>')
        path = "L".join(f"{x(at):.1f},{y(value):.1f}" for at, value in line.points)
        parts.append(f'<path class="{line.kind}" d="M{path}"/>')
    return "".join(parts) + "</svg>"
