"""Pricing's arrays as callers take them: views for the kernels, how markets and flights begin, and what an artifact
holds.

Stable for callers: `PRICING_COLUMNS`, `pricing_capacity`, `pricing_views`, `begin_pool`, `begin_market`,
`begin_flight`, `artifact_markets`, `load_artifact`, `load_markets`, `Settings`.
"""

import numpy as np
from numba import njit

from online.artifact import Artifact, unpack_ids
from online.chance import hash64
from online.pricing.layout import (
    DIMENSION,
    FARES_MAX,
    FEATURES_MAX,
    GAINS,
    INPUTS,
    LINEAR,
    LOGARITHM,
    NODES,
    PRICING_COLUMNS,
    SEATS_MAX,
    WINDOWS,
    FeatureArrays,
    FlightArrays,
    MarketArrays,
    PoolArrays,
    Pricing,
    PricingScratch,
    Trunk,
    pricing_capacity,
)
from online.pricing.prior import CANCELLATIONS, published_mean, published_precision, published_windows
from online.pricing.settings import Settings, knobs
from online.tables import Array, Arrays

__all__ = [
    "PRICING_COLUMNS",
    "PricingArtifactUnsuitable",
    "Settings",
    "artifact_markets",
    "begin_flight",
    "begin_market",
    "begin_pool",
    "load_artifact",
    "load_markets",
    "pricing_capacity",
    "pricing_views",
]
POOL_MARKETS = 2.0  # markets that the pool's own mean counts for, beside those that are there
KINDS = {"linear": LINEAR, "logarithm": LOGARITHM}


class PricingArtifactUnsuitable(ValueError):
    """An artifact that these kernels cannot hold; the message says why."""


def pricing_scratch() -> PricingScratch:
    """Room to work in."""
    return PricingScratch(
        input=np.zeros(INPUTS),
        raw=np.full(FEATURES_MAX, np.nan),
        theta=np.zeros(DIMENSION),
        slope=np.zeros(DIMENSION),
        spread=np.zeros(DIMENSION),
        factor=np.zeros((DIMENSION, DIMENSION)),
        inverse=np.zeros((DIMENSION, DIMENSION)),
        probability=np.zeros(FARES_MAX),
        deviation=np.zeros(FARES_MAX),
        rise=np.zeros((2, FARES_MAX)),
        hull=np.zeros(FARES_MAX, np.int64),
        gain=np.zeros((NODES, GAINS)),
        value=np.zeros(SEATS_MAX + 1),
        step=np.zeros(SEATS_MAX + 1),
        line=np.zeros(GAINS),
    )


def pricing_views(arrays: Arrays, settings: Settings) -> Pricing:
    """The kernels' view of the columns, with room to work in; a worker's read-only arrays serve as well."""
    return Pricing(
        knobs=knobs(settings),
        markets=MarketArrays(**{name: arrays[f"markets.{name}"] for name in MarketArrays._fields}),
        flights=FlightArrays(**{name: arrays[f"flights.{name}"] for name in FlightArrays._fields}),
        features=FeatureArrays(**{name: arrays[f"fare_features.{name}"] for name in FeatureArrays._fields}),
        trunk=Trunk(**{name: arrays[f"trunk.{name}"] for name in Trunk._fields}),
        pool=PoolArrays(**{name: arrays[f"pool.{name}"] for name in PoolArrays._fields}),
        scratch=pricing_scratch(),
    )


def begin_pool(arrays: Arrays) -> None:
    """What every market begins from where there is no artifact: published estimates, widely spread."""
    arrays["pool.mean"][0] = published_mean()
    arrays["pool.precision"][0] = published_precision()
    arrays["pool.window_shape"][0], arrays["pool.window_rate"][0] = published_windows()
    arrays["pool.weekday"][0] = 1.0
    arrays["pool.cancel"][0] = CANCELLATIONS


@njit(cache=True)
def begin_market(p: Pricing, market: int, reference_cents: float, markets: int) -> None:
    """A market without a past begins from the pool and from what the others are now.

    reference_cents: the geometric middle of its first flight's band. markets: rows that were ever handed out.
    """
    m = p.markets
    m.reference_cents[market] = reference_cents
    weight = POOL_MARKETS
    for i in range(DIMENSION):
        m.mean[market, i] = POOL_MARKETS * p.pool.mean[0, i]
    for other in range(markets):
        if other != market and m.reference_cents[other] > 0.0:
            weight += 1.0
            for i in range(DIMENSION):
                m.mean[market, i] += m.mean[other, i]
    for i in range(DIMENSION):
        m.mean[market, i] /= weight
        m.offset[market, i] = 0.0
        for j in range(DIMENSION):
            m.precision[market, i, j] = p.pool.precision[0, i, j]
            m.floor[market, i, j] = p.pool.precision[0, i, j]
            m.covariance[market, i, j] = 0.0
    m.day[market] = -1  # the first roll makes the covariance
    for i in range(4):
        m.drift[market, i] = 0.0
        m.dispersion[market, i] = 0.0
    for w in range(WINDOWS):
        m.window_shape[market, w] = p.pool.window_shape[0, w]
        m.window_rate[market, w] = p.pool.window_rate[0, w]
        m.window_prior[market, w] = p.pool.window_shape[0, w]
        m.contexts[market, w] = 0
    for i in range(2):
        m.level[market, i] = 0.0
        m.cancel[market, i] = p.pool.cancel[0, i]


@njit(cache=True)
def begin_flight(
    p: Pricing,
    flight: int,
    market: int,
    departs_ms: int,
    capacity: int,
    seats_left: int,
    ladder_cents: Array,
    fares: int,
) -> None:
    """A flight is for sale, or what is known of it has changed; its features are written by the caller."""
    f = p.flights
    f.market[flight] = market
    f.departs_ms[flight] = departs_ms
    f.capacity[flight] = capacity
    f.seats_left[flight] = seats_left
    f.fares[flight] = min(fares, FARES_MAX)
    for k in range(f.fares[flight]):
        f.ladder_cents[flight, k] = ladder_cents[k]


def artifact_markets(artifact: Artifact) -> list[str]:
    """The ids of the artifact's markets, in the order of its rows."""
    return unpack_ids(artifact.tensors["markets.ids"], artifact.tensors["markets.id_starts"])


def load_artifact(arrays: Arrays, artifact: Artifact) -> None:
    """Put an artifact's pool, trunk and features into a state that is empty. Raises PricingArtifactUnsuitable."""
    if artifact.manifest.get("kind") != "pricing":
        raise PricingArtifactUnsuitable(f"artifact {artifact.id} is for {artifact.manifest.get('kind')}, not pricing")
    tensors = artifact.tensors
    for table, fields in (("pool", PoolArrays._fields), ("trunk", Trunk._fields)):
        for name in fields:
            column, given = arrays[f"{table}.{name}"], tensors[f"{table}.{name}"]
            if column.shape != given.shape:
                raise PricingArtifactUnsuitable(
                    f"artifact {artifact.id}: {table}.{name} is {given.shape}, this version holds {column.shape}. "
                    "Train it again with `perennial pretrain pricing`."
                )
            column[...] = given
    for j, feature in enumerate(artifact.manifest["features"]):
        arrays["fare_features.key"][j] = hash64(feature["name"])
        arrays["fare_features.kind"][j] = KINDS[feature["kind"]]
        arrays["fare_features.shift"][j] = feature["shift"]
        arrays["fare_features.scale"][j] = feature["scale"]
        arrays["fare_features.arrival_weight"][j] = feature["arrival_weight"]


def load_markets(arrays: Arrays, artifact: Artifact, rows: list[int]) -> None:
    """Put an artifact's markets into these rows, in the order of `artifact_markets`."""
    for name in MarketArrays._fields:
        given = artifact.tensors.get(f"markets.{name}")
        if given is not None:
            for row, value in zip(rows, given, strict=True):
                arrays[f"markets.{name}"][row] = value
