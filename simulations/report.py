"""The report page of a demo: one file, no network, legible in light and dark and on a phone."""

from __future__ import annotations

import math
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np

from simulations import charts
from simulations.charts import Plot, linear, logarithmic
from simulations.measurements import ARM_NAMES, CHAMPION, LIVE, Decision, percentile, share_of_best
from simulations.report_fares import fares_section
from simulations.results import (
    LEARNING_OFF,
    LEARNING_ON,
    Results,
    best_new_share,
    reasons,
    table,
)
from simulations.video_settings import HOUR_MS

_BINS = 16

_STYLE = Path(__file__).with_name("report.css")


def write_report(results: Results, path: Path) -> None:
    path.write_text(report(results), encoding="utf-8")


def report(results: Results) -> str:
    """The whole page."""
    frozen, live = share_of_best(results.of(CHAMPION)), share_of_best(results.of(LIVE))
    if math.isnan(frozen.mean) or math.isnan(live.mean):
        headline = "A run of the demo"
    else:
        headline = (
            f"Learning on: {100 * live.mean:.0f} % of the best possible reward. Frozen: {100 * frozen.mean:.0f} %."
        )
    cards = "".join(
        f"<div><h2>{escape(_capital(name))}</h2>"
        + "".join(f"<p>{escape(_capital(part))}.</p>" for part in sentence.split("; "))
        + "</div>"
        for name, sentence in reasons(results)
    )
    style = _STYLE.read_text(encoding="utf-8")
    figures = [
        _learning_curve(results),
        _new_titles(results),
        _lags(results),
        _latency(results),
        _freshness(results),
        _loss(results),
    ]
    plots = "".join(figure for figure in figures if figure)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>perennial demo, seed {results.seed}</title><style>{style}</style></head><body><main>"
        f"<h1>{escape(headline)}</h1>"
        '<p class="soft">Simulated viewers of a video service, and travellers who ask for fares, over HTTP. '
        f"{escape(_setting(results))}</p>"
        f'<section class="reasons">{cards}</section>'
        f'<section class="plots">{plots}</section>'
        f'<section class="panel"><h2>Frozen against continued</h2>{_table(results)}</section>'
        f"{fares_section(results.fares) if results.fares else ''}"
        f"{_facts(results)}</main></body></html>\n"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _setting(results: Results) -> str:
    share = f"{100 * results.champion_share:.0f} % of them are answered by the frozen artifact"
    world = "Tastes, titles and trends drift" if results.drift else "Nothing drifts in this world"
    hours = _hours(results, results.decisions[-1]) if results.decisions else 0.0
    return (
        f"{world} (drift {results.drift:g}); {share} (the service's default is 5 %, more of them make the comparison "
        f"sharper), all others by the model that goes on learning. {hours / 24:.1f} simulated days."
    )


def _hours(results: Results, decision: Decision) -> float:
    return (decision.at_ms - results.began_at_ms) / HOUR_MS


def _figure(title: str, sub: str, plot: Plot, note: str = "") -> str:
    caption = f'<figcaption class="soft small">{escape(note)}</figcaption>' if note else ""
    return f'<figure><h2>{escape(title)}</h2><p class="soft small">{escape(sub)}</p>{plot.svg()}{caption}</figure>'


def _bins(results: Results) -> list[tuple[float, list[Decision]]]:
    """Decisions of the stream in equal shares of their number: (middle in hours, decisions)."""
    stream = sorted((one for one in results.decisions if one.phase != "held_out"), key=lambda one: one.at_ms)
    if len(stream) < 4 * _BINS:
        return []
    edges = np.linspace(0, len(stream), _BINS + 1).astype(int).tolist()
    parts = [stream[first:last] for first, last in pairwise(edges)]
    return [(_hours(results, part[len(part) // 2]), part) for part in parts]


def _hour_axis(hours: list[float]) -> charts.Axis:
    return linear(0.0, max(hours), "simulated hours since the artifact was frozen", lambda h: f"{h:g}", ticks=6)


def _learning_curve(results: Results) -> str:
    bins = _bins(results)
    if not bins:
        return ""
    hours = [hour for hour, _ in bins]
    curves = {
        arm: [share_of_best(one for one in part if one.arm == arm) for _, part in bins] for arm in (LIVE, CHAMPION)
    }
    floor = [sum(one.random for one in part) / sum(one.best for one in part) for _, part in bins]
    known = [x for curve in curves.values() for one in curve for x in (one.low, one.high) if not math.isnan(x)]
    top = max([*known, 0.1])
    plot = Plot(
        x=_hour_axis(hours),
        y=linear(0.0, 100 * top, "% of the best slate", lambda v: f"{v:g} %"),
        alt="share of the best slate's reward over simulated time, for both arms",
    )
    for arm in (LIVE, CHAMPION):
        name, curve = ARM_NAMES[arm], curves[arm]
        plot.band(hours, [100 * one.low for one in curve], [100 * one.high for one in curve], series=name)
        plot.line(
            hours,
            [100 * one.mean for one in curve],
            series=name,
            name=name,
            dots=lambda x, y, name=name: f"{name}, hour {x:.1f}: {y:.1f} % of the best slate",
        )
    plot.line(hours, [100 * share for share in floor], series="other", name="random", style="dashed")
    return _figure(
        "Reward over time",
        "True expected reward of the slates shown, as a share of the best slate's. Bands: 95 %, by viewer.",
        plot,
    )


def _new_titles(results: Results) -> str:
    bins = _bins(results)
    if not bins:
        return ""
    hours = [hour for hour, _ in bins]

    def shares(arm: str) -> list[float]:
        parts = [[one for one in part if one.arm == arm] for _, part in bins]
        return [100 * sum(o.new_titles for o in p) / sum(o.n for o in p) if p else math.nan for p in parts]

    best = [100 * best_new_share(part) for _, part in bins]
    curves = {arm: shares(arm) for arm in (LIVE, CHAMPION)}
    top = max([5.0, *best, *(x for curve in curves.values() for x in curve if not math.isnan(x))])
    plot = Plot(
        x=_hour_axis(hours),
        y=linear(0.0, top, "% of positions", lambda v: f"{v:g} %"),
        alt="share of positions given to titles that the history does not know, for both arms and the best slates",
    )
    plot.line(hours, best, series="other", name="best slates", style="dashed")
    for arm in (LIVE, CHAMPION):
        name = ARM_NAMES[arm]
        plot.line(
            hours,
            curves[arm],
            series=name,
            name=name,
            dots=lambda x, y, name=name: f"{name}, hour {x:.1f}: {y:.1f} % of positions",
        )
    shown = ", ".join(
        f"{ARM_NAMES[arm]} {results.shown_titles.get(arm, 0):,}" for arm in (LIVE, CHAMPION) if results.shown_titles
    )
    note = f"Titles ever shown, of {results.catalogue:,}: {shown}." if results.catalogue and shown else ""
    return _figure("New titles", "Share of the positions given to titles that came out after the freeze.", plot, note)


def _lags(results: Results) -> str:
    if not results.lags:
        return ""
    points = results.lags
    top = max(point.hit_rate for point in points)
    ticks = [(k + 0.5, point.label) for k, point in enumerate(points)]
    plot = Plot(
        x=charts.Axis(0.0, float(len(points)), ticks, "parameters refreshed every (event time)"),
        y=linear(0.0, 1.12 * top, "HR@10", lambda v: f"{v:.2f}"),
        alt="hit rate at ten by how old the parameters may be",
    )
    for k, point in enumerate(points):
        series = "frozen" if point.lag_s is None else "continued"
        title = f"{point.label}: HR@10 {point.hit_rate:.3f}, {point.n:,} events ranked"
        plot.bar(k + 0.18, k + 0.82, point.hit_rate, series=series, title=title, label=f"{point.hit_rate:.3f}")
    return _figure("Quality against parameter lag", results.lag_note, plot)


def _latency(results: Results) -> str:
    on, off = results.latencies(LEARNING_ON), results.latencies(LEARNING_OFF)
    if len(on) < 20 or len(off) < 20:
        return ""
    low = max(0.1, min(percentile(on, 0.005), percentile(off, 0.005)) * 0.8)
    high = max(percentile(on, 0.999), percentile(off, 0.999)) * 1.15
    plot = Plot(
        x=logarithmic(low, high, "milliseconds, logarithmic", _milliseconds),
        y=linear(0.0, 100.0, "% of calls", lambda v: f"{v:g} %"),
        alt="cumulative share of recommendation calls by latency, learning on and off",
    )
    for values, series, name, style in (
        (off, "other", "learning off", "dashed"),
        (on, "continued", "learning on", "line"),
    ):
        shares = np.linspace(0.0, 1.0, 101)
        xs = [percentile(values, share) for share in shares.tolist()]
        plot.line([*xs], [100 * share for share in shares.tolist()], series=series, name=name, style=style)
    note = (
        f"On: p50 {percentile(on, 0.5):.2f} ms, p99 {percentile(on, 0.99):.2f} ms ({len(on):,} calls). "
        f"Off: p50 {percentile(off, 0.5):.2f} ms, p99 {percentile(off, 0.99):.2f} ms ({len(off):,} calls). "
        f"Off means: {results.learning_off_means}."
    )
    return _figure("Latency of a slate", "Share of the calls answered within, measured by the viewers.", plot, note)


def _milliseconds(value: float) -> str:
    return f"{value:g} ms" if value < 1000 else f"{value / 1000:g} s"


def _freshness(results: Results) -> str:
    waits = results.waits()
    if len(waits) < 20:
        return ""
    low, high = max(0.3, min(waits) * 0.9), max(waits) * 1.1
    edges = np.geomspace(low, high, 25)
    counts, _ = np.histogram(waits, edges)
    shares = 100 * counts / len(waits)
    plot = Plot(
        x=logarithmic(low, high, "milliseconds, logarithmic", _milliseconds),
        y=linear(0.0, float(shares.max()) * 1.1, "% of probes", lambda v: f"{v:g} %"),
        alt="histogram of the time from an acknowledged event to a decision that knows it",
    )
    for (left, right), share in zip(pairwise(edges.tolist()), shares.tolist(), strict=True):
        if share:
            plot.bar(left, right, share, series="continued", title=f"{left:.1f} to {right:.1f} ms: {share:.1f} %")
    for row, (name, share) in enumerate((("p50", 0.5), ("p99", 0.99))):
        at = percentile(waits, share)
        plot.upright(at, f"{name} {at:.1f} ms", row=row)
    unknown = len(results.freshness) - len(waits)
    return _figure(
        "Freshness",
        "From the acknowledgement of an event to the reply of a decision that has learned it, the call included.",
        plot,
        f"{len(waits):,} probes" + (f"; {unknown} more were told to come back." if unknown else "."),
    )


def _loss(results: Results) -> str:
    points = [(at, loss) for at, loss in results.loss if not math.isnan(loss)]
    if len(points) < 5:
        return ""
    xs, ys = [at for at, _ in points], [loss for _, loss in points]
    plot = Plot(
        x=linear(0.0, max(xs), "seconds of the run", lambda v: f"{v:g}", ticks=6),
        y=linear(min(ys) * 0.95, max(ys) * 1.02, "loss", lambda v: f"{v:.3g}"),
        alt="prequential loss of the learner over the run",
    )
    plot.line(xs, ys, series="continued", name="")
    alarms = "" if results.drift_alarms is None else f"Drift alarms (ADWIN): {results.drift_alarms}."
    return _figure("Prequential loss", "Each event is predicted before it is learned; running mean.", plot, alarms)


def _table(results: Results) -> str:
    rows = []
    for row in table(results):
        indent = ' class="indent"' if row.name.startswith(" ") else ""
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in (row.frozen, row.continued, row.change))
        rows.append(f"<tr><td{indent}>{escape(row.name.strip())}</td>{cells}</tr>")
    head = (
        "<tr><th></th>"
        '<th><i class="key frozen"></i>frozen</th>'
        '<th><i class="key continued"></i>continued</th><th>difference, 95 %</th></tr>'
    )
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _facts(results: Results) -> str:
    facts = "".join(
        f"<tr><td>{escape(name)}</td><td><code>{escape(value)}</code></td></tr>"
        for name, value in results.facts.items()
    )
    stages = "".join(f"<tr><td>{escape(name)}</td><td>{seconds:.1f} s</td></tr>" for name, seconds in results.stages)
    return (
        '<details class="panel"><summary>Configuration, versions, digests</summary>'
        f'<table class="facts"><tbody>{facts}</tbody></table></details>'
        '<details class="panel"><summary>Where the time went</summary>'
        f'<table class="facts"><tbody>{stages}</tbody></table></details>'
    )
