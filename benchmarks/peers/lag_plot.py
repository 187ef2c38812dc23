"""Quality against the age of parameters as one drawing that stands by itself, on light and on dark paper."""

from __future__ import annotations

from simulations.charts import Axis, Plot, linear

STYLE = """<style>
svg { color-scheme: light dark; font: 12px system-ui, sans-serif; --ink: #1b1b1a; --rule: #dcdbd6; --line: #2a6fc9 }
@media (prefers-color-scheme: dark) { svg { --ink: #f1f0ec; --rule: #45443f; --line: #6ba6f2 } }
text { fill: var(--ink) } .grid, .axis { stroke: var(--rule) } .bar { fill: var(--line) } .value { text-anchor: middle }
</style>"""


def lag_plot(quality: dict[str, float]) -> str:
    """An SVG of a bar for each lag, in this order."""
    names = list(quality)
    ticks = [(at + 0.5, name) for at, name in enumerate(names)]
    plot = Plot(
        x=Axis(0.0, float(len(names)), ticks, "age of the parameters that rank, at most"),
        y=linear(0.0, max(quality.values()) * 1.08, "HR@10", lambda value: f"{value:.1f}"),
        alt="HR@10 by the age of the parameters: " + ", ".join(f"{name} {quality[name]:.3f}" for name in names),
    )
    for at, name in enumerate(names):
        value = quality[name]
        plot.bar(at + 0.12, at + 0.88, value, series="continued", title=f"{name}: {value:.4f}", label=f"{value:.3f}")
    drawn = plot.svg()
    head = drawn.index(">")
    return drawn[:head] + ' xmlns="http://www.w3.org/2000/svg"' + drawn[head : head + 1] + STYLE + drawn[head + 1 :]
