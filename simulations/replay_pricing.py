"""`perennial replay pricing`: one step ahead, then learn, over the later part of a booking log.

Every request of the stream is first predicted, would it be booked at the fare that it was shown, and then learned, by
the kernels that serve. Two variants side by side: `frozen` stays as the batch job made it, `continued` goes on.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from batch.pricing.bookings import Bookings, read_bookings
from batch.pricing.scores import scores_of
from online.artifact import Artifact, read_artifact
from online.chance import hash64
from online.pricing.arrays import (
    artifact_markets,
    begin_flight,
    begin_market,
    load_artifact,
    load_markets,
    pricing_views,
)
from online.pricing.arrivals import observe_request
from online.pricing.demand import logit_gradient, set_input
from online.pricing.features import add_feature, overlay
from online.pricing.layout import FARES_MAX, FEATURES_MAX, PRICING_COLUMNS, pricing_capacity
from online.pricing.posterior import observe_outcome, roll_market
from online.pricing.settings import Settings
from online.tables import Arrays, allocate

VARIANTS = ("frozen", "continued")


class NothingToReplay(ValueError):
    """A split that leaves no stream."""


def replay_pricing(
    bookings: Path,
    *,
    artifact: Path | None = None,
    pretrain_share: float = 0.8,
    stream_from_ms: int | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """{"requests", "pretrain_requests", "requests_per_second", "variants": {name: scores}, "breaks", "state_digest"}.

    Without an artifact the batch part is trained on first. Raises NothingToReplay, BookingsMalformed, ArtifactMissing,
    ArtifactCorrupt, PricingArtifactUnsuitable.
    """
    log = read_bookings(Path(bookings))
    if stream_from_ms is not None:
        first = int(np.searchsorted(log.asked_ms, stream_from_ms, side="left"))
    else:
        first = round(len(log) * pretrain_share)
        while 0 < first < len(log) and log.asked_ms[first] == log.asked_ms[first - 1]:
            first += 1  # one moment is not split
    if first >= len(log) or not log.quoted[first:].any():
        raise NothingToReplay(
            f"{bookings}: of {len(log):,} requests none that was quoted is left after the batch part."
        )
    if artifact is not None:
        chosen = read_artifact(Path(artifact))
    else:
        from batch.pricing.train import pretrain_pricing

        with tempfile.TemporaryDirectory() as folder:
            until_ms = int(log.asked_ms[first])
            chosen = pretrain_pricing(Path(bookings), Path(folder), until_ms=until_ms, device="cpu", quiet=quiet)
    stream = log.taken(np.arange(first, len(log)))
    found: dict[str, Any] = {"requests": len(stream), "pretrain_requests": first, "artifact": chosen.id, "variants": {}}
    quoted = stream.quoted
    for name in VARIANTS:
        begun = time.perf_counter()
        pi, arrays = predictions(stream, chosen, settings or Settings(), seed, learns=name == "continued")
        found["variants"][name] = scores_of(pi[quoted], stream.booked[quoted]).as_json()
        if name == "continued":
            found["requests_per_second"] = round(len(stream) / (time.perf_counter() - begun))
            found["breaks"] = int(arrays["markets.drift"][:, 3].sum())
            found["state_digest"] = digest(arrays)
        if not quiet:
            print(f"{name}: log loss {found['variants'][name]['log_loss']:.4f}", file=sys.stderr)
    return found


def predictions(
    stream: Bookings, artifact: Artifact, settings: Settings, seed: int, *, learns: bool
) -> tuple[np.ndarray, Arrays]:
    """(P(booked) of each request before it was learned, NaN where nothing was quoted; the state at the end)."""
    known = artifact_markets(artifact)
    ids = [*known, *(m for m in stream.market_ids if m not in set(known))]
    row_of = {market: row for row, market in enumerate(ids)}
    capacity = {**pricing_capacity(), "markets": len(ids), "flights": len(stream.flight_ids)}
    arrays = allocate(PRICING_COLUMNS, capacity)
    load_artifact(arrays, artifact)
    load_markets(arrays, artifact, list(range(len(known))))
    p = pricing_views(arrays, settings)
    places = [add_feature(p.features, np.uint64(hash64(name))) for name in stream.feature_names]
    columns = [(j, place) for j, place in enumerate(places) if place >= 0]
    keys = [np.uint64(hash64(market)) for market in ids]
    rows = np.array([row_of[market] for market in stream.market_ids], np.int64)
    ladder = np.zeros(FARES_MAX, np.int32)
    given = np.full(FEATURES_MAX, np.nan)
    begun = np.zeros(len(stream.flight_ids), bool)
    predicted = np.full(len(stream), np.nan)
    days, quoted = stream.days, stream.quoted
    for i in range(len(stream)):
        market, flight, at_ms = int(rows[stream.market[i]]), int(stream.flight[i]), int(stream.asked_ms[i])
        fare = float(stream.fare_cents[i])
        if arrays["markets.reference_cents"][market] == 0.0:
            if not quoted[i]:
                continue  # a market of which no fare is known has no reference yet
            begin_market(p, market, fare, len(ids))
        if learns or arrays["markets.day"][market] < 0:
            roll_market(p, market, keys[market], np.uint64(seed), at_ms)
        seats = int(stream.seats_left[i])
        if not begun[flight]:
            begun[flight] = True
            begin_flight(p, flight, market, int(stream.departs_ms[i]), int(stream.capacity[i]), seats, ladder, 0)
        arrays["flights.seats_left"][flight] = seats
        for j, place in columns:
            given[place] = stream.features[i, j]
        if quoted[i]:
            overlay(p, flight, given)
            set_input(p, market, flight, float(days[i]))
            ratio = fare / arrays["markets.reference_cents"][market] - 1.0
            predicted[i] = logit_gradient(
                p.trunk, arrays["markets.mean"][market], p.scratch.input, ratio, p.scratch.slope
            )
        if learns:
            observe_request(p, market, flight, given, at_ms)
            if quoted[i]:
                observe_outcome(p, market, flight, float(days[i]), fare, float(stream.booked[i]))
    return predicted, arrays


def digest(arrays: Arrays) -> str:
    """BLAKE3 over name, dtype, shape and bytes of every array, 32 hex digits."""
    hasher = blake3()
    for name in sorted(arrays):
        array = arrays[name]
        hasher.update(f"|{name}|{array.dtype.str}|{array.shape}|".encode())
        hasher.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return hasher.hexdigest()[:32]
