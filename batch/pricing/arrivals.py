"""How many ask, out of a booking log: Gamma rates per market and window, factors of weekday and flights' features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from batch.pricing.bookings import Bookings
from batch.pricing.features import Feature, weekdays
from online.pricing.layout import CONTEXTS, FEATURES_MAX, WINDOW_DAYS, WINDOWS
from online.pricing.prior import CANCELLATIONS, published_windows

DAY_MS = 86_400_000
ROUNDS = 4
FACTOR_SPREAD = 0.25  # prior deviation of a factor's logarithm
LEVEL_PRIOR = 10.0  # requests that a market's level is worth before any came
HISTORY_WEIGHT = 0.5  # flights have shocks of their own, so requests are fewer witnesses than they are
OVERDISPERSION = 3.0  # of a flight's count, over a Poisson's variance


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Windows' Gamma parameters [m, WINDOWS], the pool's [WINDOWS], weekday's factors [7], and weighted features."""

    shape: np.ndarray
    rate: np.ndarray
    prior: np.ndarray
    pool_shape: np.ndarray
    pool_rate: np.ndarray
    weekday: np.ndarray
    features: list[Feature]
    horizon_days: float


def flight_exposure(bookings: Bookings) -> tuple[np.ndarray, np.ndarray, float]:
    """(days [flights, WINDOWS] that each flight was on sale, departs_ms [flights], the horizon in days).

    A flight is taken to be on sale from the horizon (the earliest request of any flight), or from the log's begin, up
    to its departure, the log's end, or the request that took its last seat.
    """
    flights = len(bookings.flight_ids)
    horizon = float(np.ceil(bookings.days.max()))
    begin, end = int(bookings.asked_ms[0]), int(bookings.asked_ms[-1])
    departs = np.zeros(flights, np.int64)
    departs[bookings.flight] = bookings.departs_ms
    last = np.zeros(flights, np.int64)
    last[bookings.flight] = np.arange(len(bookings))  # rows are in time order: the last one stays
    sold_out = bookings.seats_left[last] - bookings.booked[last] <= 0
    until = np.minimum(departs, end)
    until = np.where(sold_out, np.minimum(until, bookings.asked_ms[last]), until)
    early = np.clip((departs - np.maximum(departs - int(horizon * DAY_MS), begin)) / DAY_MS, 0.0, None)
    late = np.clip((departs - until) / DAY_MS, 0.0, None)
    begins = np.array(WINDOW_DAYS)
    ends = np.append(begins[1:], np.inf)
    days = np.clip(np.minimum(early[:, None], ends) - np.maximum(late[:, None], begins), 0.0, None)
    return days, departs, horizon


def fit_arrivals(bookings: Bookings, features: list[Feature], references: np.ndarray) -> Arrivals:
    """Rates and factors, by turns; the published rates where there is no past."""
    shape0, rate0 = published_windows()
    if not len(bookings):
        nothing = np.zeros((0, WINDOWS))
        return Arrivals(nothing, nothing, nothing, shape0, rate0, np.ones(7), features, 0.0)
    flights, markets = len(bookings.flight_ids), len(bookings.market_ids)
    days, departs, horizon = flight_exposure(bookings)
    window = np.searchsorted(np.array(WINDOW_DAYS), bookings.days, side="right") - 1
    count = np.zeros((flights, WINDOWS))
    np.add.at(count, (bookings.flight, window), 1.0)
    market = np.zeros(flights, np.int64)
    market[bookings.flight] = bookings.market

    # What may move a flight's arrivals: its weekday, and features that are its own.
    own = [j for j, feature in enumerate(features) if feature.of_flight]
    design = np.zeros((flights, 7 + len(own)))
    design[np.arange(flights), weekdays(departs)] = 1.0
    for c, j in enumerate(own):
        column = bookings.feature_names.index(features[j].name)
        raw = np.full(flights, np.nan)
        raw[bookings.flight] = bookings.features[:, column]
        design[:, 7 + c] = features[j].scaled(raw, references[market])

    weights = np.zeros(design.shape[1])
    pool = shape0 / rate0
    level = np.ones(markets)
    rates = np.tile(pool, (markets, 1))
    for _ in range(ROUNDS):
        factor = np.exp(design @ weights)
        exposure = days * factor[:, None]
        came = np.zeros((markets, WINDOWS))
        there = np.zeros((markets, WINDOWS))
        np.add.at(came, market, count)
        np.add.at(there, market, exposure)
        pool = (shape0 + (came / level[:, None]).sum(0) * HISTORY_WEIGHT) / (rate0 + there.sum(0) * HISTORY_WEIGHT)
        level = (LEVEL_PRIOR + came.sum(1)) / (LEVEL_PRIOR + (there * pool).sum(1))
        prior = shape0 + 0.0 * came
        rates = (prior + came * HISTORY_WEIGHT) / (prior / (pool * level[:, None]) + there * HISTORY_WEIGHT)
        # One Newton step of a ridged, overdispersed Poisson regression of flights' counts.
        expected = (days * rates[market]).sum(1) * factor
        residual = (count.sum(1) - expected) / OVERDISPERSION
        curvature = (design * (expected / OVERDISPERSION)[:, None]).T @ design
        ridge = np.eye(len(weights)) / FACTOR_SPREAD**2
        weights = weights + np.linalg.solve(curvature + ridge, design.T @ residual - weights / FACTOR_SPREAD**2)
        weights = np.clip(weights, -1.5, 1.5)
    learned = [
        replace(feature, arrival_weight=float(weights[7 + own.index(j)])) if j in own else feature
        for j, feature in enumerate(features)
    ]
    shape = prior + came * HISTORY_WEIGHT
    return Arrivals(
        shape=shape,
        rate=shape / rates,
        prior=prior,
        pool_shape=shape0,
        pool_rate=shape0 / pool,
        weekday=np.exp(weights[:7]),
        features=learned,
        horizon_days=horizon,
    )


def last_contexts(bookings: Bookings, features: list[Feature]) -> tuple[np.ndarray, np.ndarray]:
    """The last requests of a market and window, float32 [m, WINDOWS, CONTEXTS, FEATURES_MAX], and how many came."""
    markets = len(bookings.market_ids)
    kept = np.zeros((markets, WINDOWS, CONTEXTS, FEATURES_MAX), np.float32)
    counts = np.zeros((markets, WINDOWS), np.int64)
    columns = [bookings.feature_names.index(feature.name) for feature in features]
    window = np.searchsorted(np.array(WINDOW_DAYS), bookings.days, side="right") - 1
    for m in range(markets):
        for w in range(WINDOWS):
            rows = np.flatnonzero((bookings.market == m) & (window == w))
            counts[m, w] = len(rows)
            for place, row in enumerate(rows[-CONTEXTS:]):
                at = (len(rows) - min(len(rows), CONTEXTS) + place) % CONTEXTS
                kept[m, w, at] = np.nan
                kept[m, w, at, : len(columns)] = bookings.features[row, columns]
    return kept, counts


def cancellations(bookings: Bookings) -> tuple[np.ndarray, np.ndarray]:
    """(cancellations and seat-days [m, 2] with the prior, the pool's [2]): seats that came back between requests."""
    prior = np.array(CANCELLATIONS)
    per_market = np.tile(prior, (len(bookings.market_ids), 1))
    order = np.lexsort((np.arange(len(bookings)), bookings.flight))
    b = bookings.taken(order)
    same = b.flight[1:] == b.flight[:-1]
    after = b.seats_left[:-1] - b.booked[:-1].astype(np.int64)
    came_back = np.where(same, np.maximum(b.seats_left[1:] - after, 0), 0)
    sold = np.where(same, np.maximum(b.capacity[:-1] - after, 0), 0)
    passed = np.where(same, (b.asked_ms[1:] - b.asked_ms[:-1]) / DAY_MS, 0.0)
    np.add.at(per_market[:, 0], b.market[:-1], came_back)
    np.add.at(per_market[:, 1], b.market[:-1], sold * passed)
    total = (per_market - prior).sum(0)
    # The pool counts as much as its prior does: a new market is drawn to the others' rate, and learns its own.
    rate = (prior[0] + total[0]) / (prior[1] + total[1])
    return per_market, np.array([prior[1] * rate, prior[1]])
