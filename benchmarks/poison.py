"""Feedback that lies, from 5 % of clients: what it costs everybody else, who is named, and what surgery makes of it.

    python benchmarks/poison.py [--domain slates,fares] [--seeds 7,11,13,17,19] [--visits 3000] [--flights 80]

Slates: 5 % of the viewers of `benchmarks/closed_loop.py`'s world. flip: they report the opposite of what they do, about
the whole slate. spam: 50 watched titles, drawn by chance, at every visit. targeted: one title, watched to the end and
liked, 20 times at every visit. Regret is that of the other viewers' slates, live, to the best ones; exposure is how
often the title stands in their slates. Clean is the same world, in which those 5 % tell the truth.

Fares: one of 20 agencies (keys) of `simulations/airline_market.py`'s travellers, who ask on top of everybody else's.
flip: it books where a traveller would have declined, gives the seat back within a minute, and declines where one would
have booked. spam: it asks 20 times where others ask once, and never books. targeted: all its questions are about one
market, and it never books, for its fares to fall. Regret is that of all other travellers' takings to the optimum;
exposure here is the market's mean fare. Clean is the same market without that agency.

Named: of those who lie, and of those who do not, how many `api/campaigns.py` names, as the dashboard does. Surgery: the
log lived again without those who lie has the digest of a log that never held them.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from api.campaigns import Campaign, campaigns
from benchmarks.closed_loop import ROOT, Service, play, trained, visits_from
from benchmarks.pricing_market import CASES, ROUTES
from benchmarks.pricing_market import trained as trained_on_bookings
from online.artifact import Artifact
from online.fold import Fold
from online.history import History
from online.lineage import Cut, user_key
from online.pricing.records import BOOKED, DECLINED, Cancellation, FlightUpsert, QuoteOutcome
from online.recommendation.decide import arm_of
from online.records import Decision, Event, Record
from online.settings import Settings
from online.state import State
from simulations.airline_fold import FoldSeller
from simulations.airline_market import RIVAL_LEVELS, Market, draw_market, draw_routes
from simulations.airline_market import play as play_market
from simulations.airline_optimum import Optimum
from simulations.demo_context import ATTRIBUTION_WINDOW_S, CHAMPION_SHARE, HISTORY_DAYS
from simulations.video_records import Feedback, Visit, title_id, viewer_id
from simulations.video_settings import DAY_MS, WorldSettings
from simulations.video_world import VideoWorld
from tests.online.records_in_memory import Records

SHARE = 0.05
SPAMMED, PUSHED, ASKED = 50, 20, 20
AGENCIES, HOSTILE = 20, "agency-13"
Entries = list[tuple[int, Record]]


def surgery(entries: Entries, artifact: Artifact | None, pricing: Artifact | None, cut: Cut, lies: Any) -> bool:
    """Whether the log, lived again with the cut, has the digest of one that never held the records that lie."""
    known = {one.id: one for one in (artifact, pricing) if one is not None}
    history = History(Records(entries), known.get)
    lineage = history.lineage_at(len(entries)).cut(cut, after=1)
    state = State(history.settings, artifact, pricing=pricing)
    honest = [(position, record) for position, record in entries if not lies(record)]
    assert len(honest) < len(entries)
    Fold(state).entries(honest, holes=True)
    return history.build(lineage).state.digest() == state.digest()


def named(found: Iterable[Campaign], liars: set[str]) -> tuple[int, int, str]:
    """Of the liars, and of others, how many are named; and how the campaign is called."""
    names = {name for one in found for name in one.names}
    how = ", ".join(dict.fromkeys(f"{one.how} {one.subject}".strip() for one in found)) or "nobody"
    return len(names & liars), len(names - liars), how


# Slates ---------------------------------------------------------------------------------------------------------------


class Kept(Service):
    """A service that keeps its log."""

    def __init__(self, *arguments: Any) -> None:
        self.entries: Entries = []
        super().__init__(*arguments)

    def put(self, *records: Record) -> None:
        self.entries += enumerate(records, self.position + 1)
        super().put(*records)


class Viewers:
    """What viewers report, of whom some lie; and how often a title stands in the slates of the others."""

    pushed = PUSHED

    def __init__(self, world: VideoWorld, settings: Settings, mode: str, seed: int, target: int) -> None:
        self._world, self._settings, self._mode, self._seed = world, settings, mode, seed
        self.target = target
        self.slates = self.shown = self.positions = 0
        self._chance = np.random.default_rng([seed, 5])

    def lies(self, viewer: int) -> bool:
        """One of the 5 %, whatever the mode."""
        return bool(np.random.default_rng([self._seed, 4, viewer]).random() < SHARE)

    def __call__(self, visit: Visit, slate: list[int], seen: set[int]) -> list[Feedback]:
        honest = self._world.respond(visit, slate, seen)
        if not self.lies(visit.viewer):
            if arm_of(self._settings, viewer_id(visit.viewer)) == 0:
                self.slates += 1
                self.positions += len(slate)
                self.shown += self.target in slate
            return honest
        match self._mode:
            case "flip":
                taken = {one.title for one in honest if one.event_type == "watch" and (one.value or 0.0) >= 0.25}
                return [
                    self._said("skip" if title in taken else "watch", visit, title, position, k)
                    for k, (position, title) in enumerate(enumerate(slate, 1))
                ]
            case "spam":
                titles = self._chance.integers(0, self._world.title_count(visit.at_ms), SPAMMED)
                return [self._said("watch", visit, int(title), None, k) for k, title in enumerate(titles)]
            case "targeted":
                position = slate.index(self.target) + 1 if self.target in slate else None
                kinds = (("watch", "like") * self.pushed)[: self.pushed]
                return [self._said(kind, visit, self.target, position, k) for k, kind in enumerate(kinds)]
        return honest

    def _said(self, kind: str, visit: Visit, title: int, position: int | None, k: int) -> Feedback:
        at_ms = visit.at_ms + 1_000 * (k + 1)
        return Feedback(kind, title, position, 1.0 if kind == "watch" else None, at_ms, at_ms)


def slates(seed: int, visits: int, folder: Path, changed: dict[str, Any], modes: list[str]) -> list[dict[str, Any]]:
    """A row for each mode."""
    chosen = {"champion_share": CHAMPION_SHARE, "attribution_window_s": ATTRIBUTION_WINDOW_S} | changed
    settings = msgspec.convert(chosen, Settings)
    rows: list[dict[str, Any]] = []
    for mode in modes:
        world = VideoWorld(WorldSettings(seed=seed))
        artifact, history = trained(seed, world, folder / "drift-1")
        began_ms = world.settings.starts_at_ms + HISTORY_DAYS * DAY_MS
        target = int(np.random.default_rng([seed, 6]).integers(world.title_count(began_ms)))
        service, viewers = Kept(settings, artifact, began_ms), Viewers(world, settings, mode, seed, target)
        found = play(world, service, history, visits, respond=viewers)
        came = [visit.viewer for _, visit in zip(range(visits), visits_from(world, HISTORY_DAYS), strict=False)]
        honest = np.array([not viewers.lies(viewer) for viewer in came])
        liars = {viewer_id(viewer) for viewer in came if viewers.lies(viewer)}
        regret = 1.0 - found[honest, 0].sum() / found[honest, 3].sum()
        row = {"seed": seed, "mode": mode, "regret": regret, "exposure": viewers.shown / viewers.slates}
        row |= {"target": title_id(target), "liars": len(liars), "users": len(set(came))}
        told = campaigns((record for _, record in service.entries), settings)
        row["named"], row["wrongly"], row["how"] = named(told, liars)
        if mode != "clean":
            cut = Cut(users=tuple(user_key(one) for one in sorted(liars)))

            def lies(record: Record, liars: set[str] = liars) -> bool:
                return isinstance(record, Event | Decision) and record.user_id in liars

            row["surgery"] = surgery(service.entries, artifact, None, cut, lies)
        rows.append(row)
        tell(rows, "of slates hold the title")
    return rows


# Fares ----------------------------------------------------------------------------------------------------------------


class Agencies(FoldSeller):
    """19 agencies that say what their travellers do, and in all modes but `clean` one that does not."""

    def __init__(self, artifact: Artifact, mode: str, seed: int, target: int) -> None:
        self.entries: Entries = []
        self._mode, self._target, self._truth_seed = mode, target, seed
        self._of: dict[int, str] = {}
        self.target_fares: list[int] = []
        super().__init__(artifact, seed=seed)

    def _append(self, record: Record) -> None:
        self.entries.append((self.state.position + 1, record))
        super()._append(record)

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        chance = np.random.default_rng([self._truth_seed, 8, flight, at_ms // 1_000])
        drawn, draw = int(chance.integers(AGENCIES - 1)), chance.random()
        about_target = self._market.flights[flight].route == self._target
        if self._mode in ("flip", "spam") and draw < 1.0 / (AGENCIES - 1):
            self._lie(flight, at_ms, features, ASKED if self._mode == "spam" else 1, chance.random())
        if self._mode == "targeted" and about_target and draw < ROUTES / (AGENCIES - 1):
            self._lie(flight, at_ms, features, 1, chance.random())
        name = f"agency-{drawn:02d}"
        self.client = self._of[flight] = name if name != HOSTILE else f"agency-{AGENCIES - 1:02d}"
        fare = super().quote(flight, at_ms, features, seats_left)
        if about_target and fare:
            self.target_fares.append(fare)
        return fare

    def _lie(self, flight: int, at_ms: int, features: dict[str, float], times: int, draw: float) -> None:
        self.client = HOSTILE
        for k in range(times):
            # Two minutes apart, before the honest question of that slot.
            asked_ms = at_ms - 5_000_000 + 120_000 * k
            fare = super().quote(flight, asked_ms, features, 1)
            quote_id, flight_id = self._quote_of[flight], self._market.flights[flight].flight_id
            if fare is None:
                return
            books = self._mode == "flip" and draw >= self._would_book(flight, asked_ms, features, fare)
            said = BOOKED if books else DECLINED
            self._append(QuoteOutcome(quote_id, flight_id, said, asked_ms + 10_000, 0, HOSTILE))
            if books:
                self._append(Cancellation(quote_id, flight_id, asked_ms + 50_000, 0, HOSTILE))

    def _would_book(self, flight: int, at_ms: int, features: dict[str, float], fare: int) -> float:
        """What the market's truth says of an honest traveller like this."""
        f = self._market.flights[flight]
        route, truth = self._market.routes[f.route], self._market.truth(flight)
        day = min(max(0, len(truth.arrive) - 1 - int((f.departs_ms - at_ms) // DAY_MS)), len(truth.arrive) - 1)
        rung = int(np.argmin(np.abs(route.ladder_cents - fare)))
        rival = int(np.argmin(np.abs(RIVAL_LEVELS * route.reference_cents - features["competitor_fare"])))
        return float(truth.probability[day, int(features["saturday_stay"]), rival, rung])

    def outcome(self, flight: int, at_ms: int, booked: bool) -> None:
        self.client = self._of[flight]
        super().outcome(flight, at_ms, booked)

    def cancelled(self, flight: int, at_ms: int) -> None:
        self.client = self._of[flight]
        super().cancelled(flight, at_ms)


def fares(seed: int, flights: int, modes: list[str], case: str) -> list[dict[str, Any]]:
    """A row for each mode. case: of `benchmarks/pricing_market.py`."""
    drift, history = CASES[case]
    routes = draw_routes(ROUTES, seed)
    market: Market = draw_market(routes=routes, flights_per_route=flights // ROUTES, seed=seed, drift=drift)
    best = int(play_market(market, Optimum()).revenue_cents.sum())
    with tempfile.TemporaryDirectory() as folder:
        artifact = trained_on_bookings(routes, history, seed, Path(folder))
    target = seed % ROUTES
    rows: list[dict[str, Any]] = []
    for mode in modes:
        seller = Agencies(artifact, mode, seed, target)
        took = int(play_market(replace(market, truths={}), seller).revenue_cents.sum())
        row = {"seed": seed, "mode": mode, "regret": 1.0 - took / best, "exposure": float(np.mean(seller.target_fares))}
        row |= {"target": routes[target].market, "liars": 1, "users": AGENCIES}
        told = campaigns((record for _, record in seller.entries), seller.settings)
        row["named"], row["wrongly"], row["how"] = named(told, {HOSTILE})
        if mode != "clean":

            def lies(record: Record) -> bool:
                return not isinstance(record, FlightUpsert) and getattr(record, "client", "") == HOSTILE

            row["surgery"] = surgery(seller.entries, None, artifact, Cut(clients=(HOSTILE,)), lies)
        rows.append(row)
        tell(rows, "cents is the market's mean fare")
    return rows


# Told -----------------------------------------------------------------------------------------------------------------


def tell(rows: list[dict[str, Any]], unit: str) -> None:
    """The newest row, against the clean one of its seed."""
    row, clean = rows[-1], rows[0]
    share = row["exposure"] <= 1.0
    exposure = f"{100 * row['exposure']:.2f} %" if share else f"{row['exposure']:,.0f}"
    against = ""
    if row is not clean:
        moved = row["exposure"] - clean["exposure"]
        moved_told = f"{100 * moved:+.2f} points" if share else f"{100 * moved / clean['exposure']:+.2f} %"
        against = (
            f"; {row['regret'] / clean['regret']:.3f} of clean, {moved_told}; surgery "
            f"{'has the clean digest' if row['surgery'] else 'DIFFERS'}"
        )
    who = f"named {row['named']} of {row['liars']}, {row['wrongly']} others of {row['users']}: {row['how']}"
    print(
        f"seed {row['seed']:>3} {row['mode']:9} regret {100 * row['regret']:.2f} %, {exposure} {unit} "
        f"({row['target']}); {who}{against}",
        flush=True,
    )


def together(domain: str, everything: list[list[dict[str, Any]]], modes: list[str]) -> None:
    """All seeds: the mean ratio, the worst one, the largest exposure won."""
    for number, mode in enumerate(modes[1:], 1):
        ratios = [rows[number]["regret"] / rows[0]["regret"] for rows in everything]
        moved = [rows[number]["exposure"] - rows[0]["exposure"] for rows in everything]
        if domain == "fares":
            moved = [one / rows[0]["exposure"] for one, rows in zip(moved, everything, strict=True)]
        named_, liars, wrongly, clean = (
            sum(rows[number][what] for rows in everything) for what in ("named", "liars", "wrongly", "surgery")
        )
        print(
            f"{domain} {mode:9} regret {np.mean(ratios):.3f} of clean (worst of {len(ratios)}: {max(ratios):.3f}); "
            f"{'exposure' if domain == 'slates' else 'mean fare'} {100 * np.mean(moved):+.2f} (worst "
            f"{100 * max(moved, key=abs):+.2f}) {'points' if domain == 'slates' else '%'}; named {named_} of {liars}, "
            f"{wrongly} others; surgery has the clean digest in {clean} of {len(everything)}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", default="slates,fares")
    parser.add_argument("--seeds", default="7,11,13,17,19")
    parser.add_argument("--visits", type=int, default=3_000)
    parser.add_argument("--flights", type=int, default=80)
    parser.add_argument("--case", choices=sorted(CASES), default="rich", help="of fares: which past, which drift")
    parser.add_argument("--modes", default="flip,spam,targeted")
    parser.add_argument("--pushed", type=int, default=PUSHED, help="reports of the target at every visit")
    parser.add_argument("--settings", default="{}", help="of the service, as JSON, to compare them")
    parser.add_argument("--artifacts", type=Path, default=ROOT / "build" / "closed_loop")
    options = parser.parse_args()
    Viewers.pushed = options.pushed
    modes = ["clean", *options.modes.split(",")]
    seeds = [int(one) for one in options.seeds.split(",")]
    for domain in options.domain.split(","):
        everything = []
        for seed in seeds:
            changed = msgspec.json.decode(options.settings)
            if domain == "slates":
                everything.append(slates(seed, options.visits, options.artifacts, changed, modes))
            else:
                everything.append(fares(seed, options.flights, modes, options.case))
        together(domain, everything, modes)


if __name__ == "__main__":
    main()
