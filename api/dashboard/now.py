"""*Now*: whether it is learning, and whether that helps or hurts, at a glance."""

from html import escape
from typing import Any

from api.dashboard.pulse import Pulse, sample
from api.dashboard.tables import State, Table
from api.readiness import readiness
from api.reports import experiment
from api.service import Service

_CHARTS = (
    ("reward", "Mean reward by arm, with its interval", "the band holds at every moment at once (95 %)"),
    ("loss", "Prequential loss", "of events before they were learned, recent mean; lower is better"),
    ("rate", "Events and decisions a second", ""),
    ("freshness", "Freshness, ms", "from acknowledged to served: median and p99"),
    ("lag", "Lag, records", "in the log and not yet learned"),
)
_TILES = (
    ("verdict", "Does learning help?"),
    ("learning", "Learning"),
    ("events_per_s", "Events / s"),
    ("decisions_per_s", "Decisions / s"),
    ("freshness", "Freshness p50 / p99"),
    ("lag", "Lag, records"),
    ("loss", "Prequential loss"),
    ("drift_alarms", "Drift alarms"),
)


async def now(service: Service) -> str:
    """The view's HTML; its script fills charts and tiles from the pulse."""
    alarms = "".join(
        f'<p class="alarm" role="alert"><strong>✕ {escape(check.name)}: {escape(check.found)}.</strong> '
        f"{escape(check.cure)}</p>"
        for check in (await readiness(service)).checks
        if not check.ok
    )
    tiles = "".join(f'<div class="tile"><dt>{name}</dt><dd data-live="{key}">–</dd></div>' for key, name in _TILES)
    charts = "".join(
        f'<figure class="chart" data-chart="{key}" tabindex="0" aria-label="{escape(name)}"><figcaption>{escape(name)} '
        f'<span class="quiet">{escape(note)}</span></figcaption><div class="plot"></div>'
        '<p class="reading" aria-live="polite"></p></figure>'
        for key, name, note in _CHARTS
    )
    return (
        f'<div id="alarms">{alarms}</div><dl class="tiles">{tiles}</dl><div class="charts">{charts}</div>'
        f"{accounting(service).html()}{arms(service).html()}"
    )


def accounting(service: Service) -> Table:
    """received = applied + duplicate + late + rejected, or it says that it is not."""
    found = sample(service)
    events: dict[str, int] = found.get("events", {})
    columns = ("received", "applied", "duplicate", "late", "rejected", "accounted for")
    rows: list[Any] = []
    if events:
        rest = events["applied"] + events["duplicate"] + events["late"] + events["rejected"]
        balanced = State(rest == events["received"], "all of them" if rest == events["received"] else f"{rest:,}")
        rows.append((*(events[name] for name in columns[:5]), balanced))
    return Table(name="accounting", caption="What became of every event", columns=columns, rows=rows)


def arms(service: Service) -> Table:
    """The arms of the experiment, and the difference."""
    columns = ("arm", "closed decisions", "mean reward", "low", "high", "verdict")
    rows: list[Any] = []
    model = service.model_if_ready
    if model is not None:
        for name, arm in sample(service)["arms"].items():
            rows.append((name, arm["n"], arm["mean"], arm["low"], arm["high"], None))
        found = experiment(model)
        change = found.difference
        rows.append(
            ("live − champion", sum(arm.n for arm in found.arms), change.mean, change.low, change.high, found.verdict)
        )
    return Table(name="arms", caption="Champion (frozen artifact) against live, 95 %", columns=columns, rows=rows)


def history(pulse: Pulse) -> Table:
    """The charts' figures, a row a second."""
    columns = (
        "at_ms",
        "position",
        "lag",
        "received",
        "decisions",
        "freshness_p50_ms",
        "freshness_p99_ms",
        "loss",
        "drift_alarms",
        "live",
        "champion",
    )
    rows: list[Any] = [
        (
            one["at_ms"],
            one["position"],
            one["lag"],
            one["events"]["received"],
            one["decisions"],
            one["freshness_ms"]["p50"],
            one["freshness_ms"]["p99"],
            one["loss"],
            one["drift_alarms"],
            *(one["arms"].get(arm, {}).get("mean") for arm in ("live", "champion")),
        )
        for one in pulse.samples
        if one["ready"]
    ]
    return Table(name="history", caption="The last half hour, second by second", columns=columns, rows=rows)
