"""The last half hour on one axis of time: reward by arm as lines, and what was done as marks across them."""

from collections.abc import Sequence
from html import escape
from typing import Any, Protocol

from api.values import rfc3339
from online.records import ARMS

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 200, 46, 8, 22, 20
_KIND = {"live": "a", "champion": "b"}
_POINTS = 300
_MARKS = 60


class Mark(Protocol):
    """What stands on the axis."""

    @property
    def at_ms(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def address(self) -> str: ...


def axis(samples: Sequence[dict[str, Any]], moments: Sequence[Mark]) -> str:
    """A figure in SVG, by the server: it needs no script. samples: the pulse's, oldest first."""
    ready = [one for one in list(samples) if one["ready"]]
    ready = ready[:: max(1, len(ready) // _POINTS)]
    if len(ready) < 2:
        return '<p class="quiet">Reward beside this appears after a few seconds.</p>'
    first, last = int(ready[0]["at_ms"]), int(ready[-1]["at_ms"])
    lines = {arm: [(one["at_ms"], one["arms"].get(arm, {}).get("recent")) for one in ready] for arm in ARMS}
    values = [value for line in lines.values() for _, value in line if value is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high == low:
        low, high = low - 0.05, high + 0.05

    def x(at_ms: int) -> float:
        return _LEFT + (at_ms - first) / max(1, last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (1 - (value - low) / (high - low)) * (_HEIGHT - _TOP - _BOTTOM)

    drawn = []
    for value in (low, (low + high) / 2, high):
        drawn.append(
            f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )
        drawn.append(f'<text x="{_LEFT - 4}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3f}</text>')
    for arm, line in lines.items():
        points = [f"{x(at_ms):.1f},{y(value):.1f}" for at_ms, value in line if value is not None]
        if points:
            drawn.append(f'<path class="{_KIND[arm]}" d="M{"L".join(points)}"/>')
    inside = [one for one in moments if first <= one.at_ms <= last][:_MARKS]
    for one in inside:
        at = x(one.at_ms)
        told = f"{one.kind} at {rfc3339(one.at_ms)}: {one.what} {one.why}".strip()
        mark = (
            f'<g class="mark"><title>{escape(told)}</title>'
            f'<line class="cursor" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
            f'<text x="{at:.1f}" y="{_TOP - 6}" text-anchor="middle">{escape(_short(one))}</text></g>'
        )
        label = f' aria-label="{escape(told)}"'
        drawn.append(f'<a href="{escape(one.address)}"{label}>{mark}</a>' if one.address else mark)
    drawn.append(f'<text x="{_LEFT}" y="{_HEIGHT - 4}">{rfc3339(first)[11:19]}</text>')
    drawn.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">{rfc3339(last)[11:19]}</text>')
    newest = {
        arm: next((value for _, value in reversed(line) if value is not None), None) for arm, line in lines.items()
    }
    reading = ", ".join(
        f"{arm} {'no reward yet' if value is None else f'{value:.3f}'}" for arm, value in newest.items()
    )
    return (
        '<figure class="chart wide"><figcaption>Reward lately, by arm, and what was done '
        '<span class="quiet">the last half hour, UTC; a snapshot leads to going back to it</span></figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="group" aria-label="Reward lately: {escape(reading)}; '
        f'{len(inside)} marks">{"".join(drawn)}</svg><p class="reading">{escape(reading)}</p></figure>'
    )


def _short(one: Mark) -> str:
    return one.what.split(" ", 1)[0] if one.kind == "act" else {"snapshot": "◆", "beginning": "▶"}.get(one.kind, "·")
