"""The peers of a run, and the values of their settings that are tried."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.peers.factors import Factors
from benchmarks.peers.neighbours import Neighbours
from benchmarks.peers.popularity import Popularity
from benchmarks.peers.refitted import Refitted
from benchmarks.peers.river_models import RANKED_MAX, RiverModel
from benchmarks.peers.tuning import Recipe

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
HALF_LIVES = {
    "2 min": 2 * MINUTE,
    "5 min": 5 * MINUTE,
    "20 min": 20 * MINUTE,
    "1 h": HOUR,
    "3 h": 3 * HOUR,
    "12 h": 12 * HOUR,
    "1 day": DAY,
    "7 days": 7 * DAY,
    "30 days": 30 * DAY,
    "never": 0.0,
}
LIVES = (3 * HOUR, DAY, 30 * DAY, 0.0)
GAPS = (0.0, 30 * MINUTE)
SETS = ("popularity", "neighbours", "factors", "implicit", "river")


def recipes(sets: set[str], *, refresh_s: float) -> Iterator[Recipe]:
    """Those of the sets named, cheapest first. refresh_s: event time between two fits of implicit's."""
    if "popularity" in sets:
        for name, half_life_s in HALF_LIVES.items():
            make = partial(Popularity, half_life_s=half_life_s)
            yield Recipe(name=f"popularity, half-life {name}", make=make)
    if "neighbours" in sets:
        for name, directed in (("windowed item-kNN", False), ("sequential rules", True)):
            tried = {
                "half_life_s": LIVES,
                "session_gap_s": GAPS,
                "window": (1, 3, 5, 20),
                "history": (1, 3, 10, 20),
                "fade": (0.5, 0.7, 0.85),
                "prior": (1.0, 10.0, 50.0),
            }
            make = partial(Neighbours, directed=directed)
            start = {"history": 1, "window": 3} if directed else {}
            yield Recipe(name=name, make=make, start=start, tried=tried)
            beside = {
                "popularity_half_life_s": (5 * MINUTE, 20 * MINUTE, 3 * HOUR, 7 * DAY),
                "popularity": (0.003, 0.03, 0.1, 1.0, 3.0, 10.0),
                "history": (1, 3, 10),
            }
            start = {"popularity": 0.3, "popularity_half_life_s": HOUR}
            yield Recipe(name=f"{name} + popularity", make=make, start=start, tried=beside, after=name, rounds=2)
    if "factors" in sets:
        rates = {"rate": (0.01, 0.02, 0.1, 0.2), "penalty": (0.001, 0.01, 0.05), "factors": (32, 128)}
        yield Recipe(name="ISGD", make=Factors, tried=rates)
        yield Recipe(
            name="ISGD + negatives", make=Factors, start={"negatives": 5}, tried={**rates, "negatives": (1, 10, 20, 40)}
        )
    if "implicit" in sets:
        for model, tried in (
            ("item-knn", {"K": (20, 50, 500)}),
            ("bm25", {"K": (20, 50, 500), "B": (0.2, 0.5), "K1": (0.6, 2.0)}),
            ("als", {"alpha": (1.0, 10.0, 40.0), "regularization": (0.1, 1.0), "factors": (32, 128)}),
            ("bpr", {"learning_rate": (0.02, 0.05), "regularization": (0.001, 0.05), "iterations": (30,)}),
        ):
            make = partial(Refitted, model=model)
            yield Recipe(name=f"implicit {model}", make=make, start={"refresh_s": refresh_s}, tried=tried)
    if "river" in sets:
        rates = {"rate": (0.01, 0.1), "negatives": (1, 4)}
        for model in ("BiasedMF", "FM"):
            yield Recipe(
                name=f"river {model}",
                make=partial(RiverModel, model=model),
                tried=rates,
                at_most=RANKED_MAX,
                learned=100_000,
                slow=True,
            )
