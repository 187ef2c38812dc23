"""The fares' part of the report page: takings, booking curves, fares over time."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from simulations.airline_arms import OPTIMUM
from simulations.airline_market import DAYS
from simulations.charts import Plot, linear
from simulations.fares_results import ARMS, Fares, fares_rows, fares_setting
from simulations.measurements import ARM_NAMES


def fares_section(fares: Fares) -> str:
    """Plots and table, one section of the page."""
    rows = "".join(
        f"<tr><td>{escape(row[0])}</td>" + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in fares_rows(fares)
    )
    head = (
        '<tr><th></th><th><i class="key frozen"></i>frozen</th><th><i class="key continued"></i>continued</th>'
        "<th>difference ± paired standard error</th></tr>"
    )
    return (
        f'<section class="panel"><h2>Fares: frozen against continued</h2>'
        f'<p class="soft small">{escape(fares_setting(fares))}. Both arms and the optimum, which knows the truth, '
        f"meet the same travellers.</p>"
        f'<div class="wide"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div></section>'
        f'<section class="plots">{_takings(fares)}{_curves(fares)}{_fares(fares)}</section>'
    )


def _figure(title: str, sub: str, plot: Plot) -> str:
    return f'<figure><h2>{escape(title)}</h2><p class="soft small">{escape(sub)}</p>{plot.svg()}</figure>'


def _jump(fares: Fares, plot: Plot) -> None:
    if fares.jump_day is not None:
        plot.upright(float(fares.jump_day), "demand jumps")


def _days(days: float) -> str:
    return f"{days:g}"


def _takings(fares: Fares) -> str:
    curves = {arm: fares.cumulative(arm) for arm in ARMS}
    known = [share for curve in curves.values() for _, share in curve]
    if not known:
        return ""
    plot = Plot(
        x=linear(0.0, max(day for curve in curves.values() for day, _ in curve), "simulated days", _days, ticks=6),
        y=linear(min(known) - 1.0, max([*known, 100.0]), "% of the optimum", lambda v: f"{v:g} %"),
        alt="takings so far as a share of the optimum's takings so far, for both arms",
    )
    _jump(fares, plot)
    for arm in ARMS:
        _line(plot, curves[arm], arm, lambda name, x, y: f"{name}, day {x:.0f}: {y:.1f} % of the optimum")
    sub = "Takings so far, as a share of what the exact optimum had taken by then"
    sub += "." if fares.jump_day is None else "; it knows of the jump before it comes, and keeps seats for it."
    return _figure("Takings over time", sub, plot)


def _curves(fares: Fares) -> str:
    plot = Plot(
        x=linear(0.0, float(DAYS), "days on sale, to departure", _days, ticks=6),
        y=linear(0.0, 100.0, "% of seats", lambda v: f"{v:g} %"),
        alt="share of all seats booked by days on sale, for both arms and the optimum",
    )
    best = fares.curve(OPTIMUM)
    plot.line([DAYS - d for d, _ in best], [y for _, y in best], series="other", name="optimum", style="dashed")
    for arm in ARMS:
        points = [(DAYS - days, share) for days, share in fares.curve(arm)]
        plot.line([x for x, _ in points], [y for _, y in points], series=ARM_NAMES[arm], name=ARM_NAMES[arm])
    return _figure("Booking curves", "Seats booked and not given back, over all flights, by days on sale.", plot)


def _fares(fares: Fares) -> str:
    best = fares.fares(OPTIMUM)
    curves = {arm: fares.fares(arm) for arm in ARMS}
    known = [share for curve in (best, *curves.values()) for _, share in curve]
    if not known:
        return ""
    plot = Plot(
        x=linear(0.0, max(day for day, _ in best) + 3.5, "simulated days", _days, ticks=6),
        y=linear(min(known) * 0.95, max(known) * 1.05, "% of the reference fare", lambda v: f"{v:g} %"),
        alt="mean fare quoted by week, for both arms and the optimum",
    )
    _jump(fares, plot)
    plot.line([x for x, _ in best], [y for _, y in best], series="other", name="optimum", style="dashed")
    for arm in ARMS:
        _line(plot, curves[arm], arm, lambda name, x, y: f"{name}, week of day {x:.0f}: {y:.0f} % of the reference")
    return _figure("Fares over time", "Mean fare quoted in a week, in % of each route's reference fare.", plot)


def _line(plot: Plot, points: list[tuple[float, float]], arm: str, told: Callable[[str, float, float], str]) -> None:
    name = ARM_NAMES[arm]
    plot.line(
        [x for x, _ in points],
        [y for _, y in points],
        series=name,
        name=name,
        dots=lambda x, y: told(name, x, y),
    )
