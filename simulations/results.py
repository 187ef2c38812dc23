"""What one demo found, and the sentences that may be said about it: one source for the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulations.fares_results import Fares, fares_sentence
from simulations.measurements import (
    CHAMPION,
    LIVE,
    Decision,
    Estimate,
    Freshness,
    clustered_ratio,
    difference,
    percentile,
    share_of_best,
)

LEARNING_ON, LEARNING_OFF, HELD_OUT = "learning on", "learning off", "held_out"


@dataclass(frozen=True, slots=True)
class LagPoint:
    """Quality when parameters are `lag_s` seconds of event time old at most; None: never refreshed."""

    label: str
    lag_s: float | None
    hit_rate: float
    n: int


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The log folded a second time, in another process, up to the position whose digest the service named."""

    position: int
    served: str
    refolded: str
    seconds: float

    @property
    def identical(self) -> bool:
        return self.served == self.refolded


@dataclass(slots=True)
class Results:
    """Everything that the table and the report are made of."""

    seed: int
    drift: float
    champion_share: float
    held_out_share: float
    began_at_ms: int  # event time of the first live visit
    decisions: list[Decision] = field(default_factory=list)
    freshness: list[Freshness] = field(default_factory=list)
    lags: list[LagPoint] = field(default_factory=list)
    lag_note: str = ""
    learning_off_means: str = ""
    reproduction: Reproduction | None = None
    catalogue: int = 0  # titles that could be shown at the end
    shown_titles: dict[str, int] = field(default_factory=dict)  # distinct titles by arm
    loss: Sequence[tuple[float, float]] = ()  # (wall_s, prequential loss)
    drift_alarms: int | None = None
    fares: Fares | None = None  # what the travellers brought
    stages: list[tuple[str, float]] = field(default_factory=list)  # name, seconds
    facts: dict[str, str] = field(default_factory=dict)  # configuration, versions, digests, by name

    def of(self, arm: str, phase: str | None = None) -> list[Decision]:
        """Decisions of one arm; without a phase all but those of held-out viewers."""
        return [
            one for one in self.decisions if one.arm == arm and (one.phase == phase if phase else one.phase != HELD_OUT)
        ]

    def latencies(self, phase: str) -> list[float]:
        return [one.latency_ms for one in self.decisions if one.phase == phase and one.latency_ms >= 0.0]

    def waits(self) -> list[float]:
        return [one.waited_ms for one in self.freshness if one.known]


def per_decision(decisions: list[Decision], name: str) -> Estimate:
    """Mean of one figure over decisions, clustered by viewer."""
    values = [float(getattr(one, name)) for one in decisions]
    return _by_viewer(values, decisions)


def regret(decisions: list[Decision]) -> Estimate:
    return _by_viewer([one.best - one.value for one in decisions], decisions)


def _by_viewer(values: list[float], decisions: list[Decision]) -> Estimate:
    return clustered_ratio(values, [1.0] * len(values), [one.viewer for one in decisions])


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what, frozen, continued, and the difference where it has an interval."""

    name: str
    frozen: str
    continued: str
    change: str = ""


def table(results: Results) -> list[Row]:
    """Frozen against continued."""
    frozen, live = results.of(CHAMPION), results.of(LIVE)
    frozen_new = [one for one in frozen if one.joined_live]
    live_new = [one for one in live if one.joined_live]
    frozen_out, live_out = results.of(CHAMPION, HELD_OUT), results.of(LIVE, HELD_OUT)
    rows = [
        Row("decisions", f"{len(frozen):,}", f"{len(live):,}"),
        Row("viewers", f"{share_of_best(frozen).viewers:,}", f"{share_of_best(live).viewers:,}"),
        _shares("share of the best slate's reward", frozen, live),
        _shares("  viewers who joined while live", frozen_new, live_new),
        _shares("  held-out viewers", frozen_out, live_out),
        _means("watched titles per slate", per_decision(frozen, "observed"), per_decision(live, "observed")),
        _means("regret per slate", regret(frozen), regret(live)),
    ]
    rows.append(Row("positions given to new titles", percent(_new_share(frozen)), percent(_new_share(live))))
    if results.catalogue:
        rows.append(
            Row(
                "titles ever shown",
                *(f"{results.shown_titles.get(arm, 0):,} of {results.catalogue:,}" for arm in (CHAMPION, LIVE)),
            )
        )
    return rows


def _shares(name: str, frozen: list[Decision], live: list[Decision]) -> Row:
    one, other = share_of_best(frozen), share_of_best(live)
    return Row(name, percent(one), percent(other), _change(difference(other, one), scale=100.0, unit=" points"))


def _means(name: str, one: Estimate, other: Estimate) -> Row:
    return Row(name, _number(one), _number(other), _change(difference(other, one), scale=1.0, unit=""))


def _new_share(decisions: list[Decision]) -> Estimate:
    positions = [float(one.n) for one in decisions]
    new = [float(one.new_titles) for one in decisions]
    return clustered_ratio(new, positions, [one.viewer for one in decisions])


def best_new_share(decisions: list[Decision]) -> float:
    """Share of positions that the best slates give to new titles."""
    positions = sum(one.n for one in decisions)
    return sum(one.best_new_titles for one in decisions) / positions if positions else math.nan


def percent(value: Estimate) -> str:
    if math.isnan(value.mean):
        return "-"
    return f"{100 * value.mean:.1f} % ± {50 * (value.high - value.low):.1f}"


def _number(value: Estimate) -> str:
    if math.isnan(value.mean):
        return "-"
    return f"{value.mean:.3f} ± {(value.high - value.low) / 2:.3f}"


def _change(value: Estimate, *, scale: float, unit: str) -> str:
    if math.isnan(value.mean):
        return ""
    return f"{scale * value.mean:+.3g}{unit} [{scale * value.low:+.3g}, {scale * value.high:+.3g}]"


def reasons(results: Results) -> list[tuple[str, str]]:
    """The three reasons with this run's figures: (name, sentence)."""
    return [
        ("efficiency", _efficiency(results)),
        ("generalization", _generalization(results)),
        ("reproducibility", _reproducibility(results)),
    ]


def _efficiency(results: Results) -> str:
    on, off = results.latencies(LEARNING_ON), results.latencies(LEARNING_OFF)
    parts = []
    if on and off:
        parts.append(
            f"a slate in {percentile(on, 0.5):.1f} ms (p99 {percentile(on, 0.99):.1f}) with learning on, "
            f"{percentile(off, 0.5):.1f} ms (p99 {percentile(off, 0.99):.1f}) with {results.learning_off_means}"
        )
    waits = results.waits()
    if waits:
        parts.append(
            f"feedback is in the next decision {percentile(waits, 0.5):.0f} ms after its acknowledgement "
            f"(p99 {percentile(waits, 0.99):.0f} ms, {len(waits):,} probes)"
        )
    return "; ".join(parts) or "not measured in this run"


def _generalization(results: Results) -> str:
    frozen, live = share_of_best(results.of(CHAMPION)), share_of_best(results.of(LIVE))
    if math.isnan(frozen.mean) or math.isnan(live.mean):
        return "not measured in this run: one of the arms answered nobody"
    sentence = (
        f"{100 * live.mean:.1f} % of the best possible reward by learning on, {100 * frozen.mean:.1f} % frozen "
        f"({_verdict(difference(live, frozen))})"
    )
    out_frozen, out_live = (share_of_best(results.of(arm, HELD_OUT)) for arm in (CHAMPION, LIVE))
    if not math.isnan(out_frozen.mean) and not math.isnan(out_live.mean):
        sentence += (
            f"; for held-out viewers, who never sent feedback, {100 * out_live.mean:.1f} % against "
            f"{100 * out_frozen.mean:.1f} % ({_verdict(difference(out_live, out_frozen))})"
        )
    if results.fares is not None:
        sentence += f"; {fares_sentence(results.fares)}"
    return sentence


def _verdict(change: Estimate) -> str:
    interval = f"{100 * change.mean:+.1f} points, 95 % interval {100 * change.low:+.1f} to {100 * change.high:+.1f}"
    if change.low <= 0.0 <= change.high:
        return f"{interval}: no difference shown"
    return interval


def _reproducibility(results: Results) -> str:
    found = results.reproduction
    if found is None:
        return "not measured in this run"
    if found.identical:
        return (
            f"{found.position:,} records folded a second time from the artifact in {found.seconds:.1f} s: the same "
            f"digest, {found.served[:16]}"
        )
    return (
        f"DIFFERENT: at position {found.position:,} the service has {found.served[:16]}, a second fold "
        f"{found.refolded[:16]}"
    )
