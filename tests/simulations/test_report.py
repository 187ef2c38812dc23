"""The report: one valid page that needs no network and says what the run found, also where it found nothing."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from simulations.charts import linear, logarithmic
from simulations.measurements import CHAMPION, LIVE, Decision, Freshness
from simulations.report import report, write_report
from simulations.results import (
    HELD_OUT,
    LEARNING_OFF,
    LEARNING_ON,
    LagPoint,
    Reproduction,
    Results,
    reasons,
    table,
)

BEGAN_MS = 1_737_331_200_000
VOID = {"meta", "br", "link", "img", "input", "hr"}


def made(*, gain: float = 1.2) -> Results:
    """1,200 made-up decisions of 120 viewers; the continued arm is worth `gain` times the frozen one."""
    chance = np.random.default_rng(5)
    decisions = []
    for k in range(1_200):
        arm = CHAMPION if k % 120 < 36 else LIVE
        phase = ("live", "live", LEARNING_ON, LEARNING_OFF)[k * 4 // 1_200] if k < 1_100 else HELD_OUT
        value = chance.uniform(0.8, 1.2) * (gain if arm == LIVE else 1.0)
        decisions.append(
            Decision(
                wall_s=k / 60,
                at_ms=BEGAN_MS + k * 60_000,
                phase=phase,
                viewer=k % 120,
                joined_live=int(k % 120 > 110),
                arm=arm,
                n=10,
                value=value,
                best=2.0,
                random=0.3,
                observed=value,
                new_titles=k // 400 if arm == LIVE else 0,
                best_new_titles=2,
                latency_ms=float(chance.gamma(3.0)) + 0.5,
                staleness_ms=1.0,
            )
        )
    return Results(
        seed=7,
        drift=1.0,
        champion_share=0.3,
        held_out_share=0.15,
        began_at_ms=BEGAN_MS,
        decisions=decisions,
        freshness=[Freshness(float(k), float(chance.gamma(2.0)) + 1.0, 1) for k in range(200)],
        lags=[LagPoint("never", None, 0.12, 900), LagPoint("1 h", 3_600.0, 0.2, 900), LagPoint("0", 0.0, 0.21, 900)],
        lag_note="HR@10 of the next title",
        learning_off_means="learning frozen by an act",
        reproduction=Reproduction(12_345, "ab" * 16, "ab" * 16, 3.2),
        catalogue=900,
        shown_titles={LIVE: 400, CHAMPION: 300},
        loss=[(float(k), 2.0 - k / 100) for k in range(50)],
        drift_alarms=1,
        stages=[("history", 7.9)],
        facts={"history": "<script>alert(1)</script>", "seed": "7"},
    )


class Page(HTMLParser):
    """Checks that tags close in order, and collects what could reach outside."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.reaching: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.reaching += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_page_that_reaches_nothing_outside(tmp_path):
    write_report(made(), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.reaching == []
    assert "script" not in page.seen
    assert not re.search(r"https?://|url\(|@import|//[a-z]", text)


def test_every_plot_is_drawn_and_is_xml():
    plots = re.findall(r"<svg.*?</svg>", report(made()), flags=re.DOTALL)
    assert len(plots) == 6
    for plot in plots:
        root = ElementTree.fromstring(plot)
        assert root.get("aria-label")
        assert "nan" not in plot


def test_what_comes_from_outside_is_text_and_not_markup():
    assert "&lt;script&gt;" in report(made())


def test_both_colour_schemes_are_provided_for():
    text = report(made())
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_a_run_that_measured_nothing_still_has_a_report():
    empty = Results(seed=1, drift=0.0, champion_share=0.3, held_out_share=0.1, began_at_ms=BEGAN_MS)
    page = Page()
    page.feed(report(empty))
    assert page.open == []
    assert all("not measured" in sentence for _, sentence in reasons(empty))


def test_a_gain_is_claimed_only_where_its_interval_excludes_zero():
    gained = dict(reasons(made(gain=1.2)))["generalization"]
    level = dict(reasons(made(gain=1.0)))["generalization"]
    assert "no difference shown" not in gained.split(";")[0]
    assert "no difference shown" in level


def test_another_digest_is_said_in_capitals():
    results = made()
    results.reproduction = Reproduction(9, "aa" * 16, "bb" * 16, 1.0)
    assert dict(reasons(results))["reproducibility"].startswith("DIFFERENT")


def test_held_out_viewers_are_in_their_own_line_only():
    results = made()
    rows = {row.name.strip(): row for row in table(results)}
    counted = int(rows["decisions"].frozen.replace(",", "")) + int(rows["decisions"].continued.replace(",", ""))
    assert counted == sum(one.phase != HELD_OUT for one in results.decisions)
    assert rows["held-out viewers"].continued != "-"


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.43), (12.0, 99.0), (0.0, 0.0), (-3.0, 7.0)])
def test_a_linear_axis_covers_its_values_with_round_ticks(low, high):
    axis = linear(low, high, "x", str)
    assert axis.low <= low
    assert axis.high >= high
    assert 2 <= len(axis.ticks) <= 9


def test_a_logarithmic_axis_marks_what_lies_inside():
    axis = logarithmic(0.7, 220.0, "ms", str)
    assert all(0.7 <= value <= 220.0 for value, _ in axis.ticks)
    assert len(axis.ticks) >= 3
