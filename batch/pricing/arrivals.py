"""How many ask, out of a booking log: Gamma rates per market and window, factors of weekday and flights' features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from batch.pricing.bookings import Bookings
from batch.pricing.features import Feature, weekdays
from online.pricing.layout import CONTEXTS, FEATURES_MAX, WINDOW_DAYS, WINDOWS
from online.pricing.prior import CANCELLATIONS, published_windows
from online.pricing.settings import Settings

DAY_MS = 86_400_000
ROUNDS = 4
FACTOR_SPREAD = 0.25  # prior deviation of a factor's logarithm
LEVEL_PRIOR = 10.0  # requests that a market's level is worth before any came
HISTORY_WEIGHT = 0.5  # flights have shocks of their own, so requests are fewer witnesses than they are
FLIGHT_PRIOR = Settings().flight_prior_requests  # as the fold believes a flight's own level


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


def flight_exposure(bookings: Bookings) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(days [flights, WINDOWS] that each flight was on sale, departs_ms [flights], rows that came in them bool [n], the
    horizon in days).

    A flight is taken to be on sale from the horizon (the earliest request of any flight), or from the log's begin, up
    to its departure or the log's end. Not from the request that took its last seat on, in a log in which nobody asks
    for what is sold out: until the next request, for which a seat must have come back. When it did nobody knows, so
    that request ends no time in which it was waited for, and counts as little as that time does.
    """
    flights = len(bookings.flight_ids)
    horizon = float(np.ceil(bookings.days.max()))
    begin, end = int(bookings.asked_ms[0]), int(bookings.asked_ms[-1])
    departs = np.zeros(flights, np.int64)
    departs[bookings.flight] = bookings.departs_ms
    order = np.lexsort((np.arange(len(bookings)), bookings.flight))  # rows are in time order, and stay so by flight
    flight, asked = bookings.flight[order], bookings.asked_ms[order]
    sold_out = bookings.seats_after[order] <= 0
    newest = np.append(flight[1:] != flight[:-1], True)
    if not bookings.quoted.all():  # what is asked for and sold out stands in the log, but for the end of it
        sold_out &= newest
    until = np.where(newest, np.minimum(departs[flight], end), np.append(asked[1:], 0))
    first = np.flatnonzero(np.append(True, newest[:-1]))
    days = np.zeros((flights, WINDOWS))
    opens = np.maximum(departs - int(horizon * DAY_MS), begin)[flight[first]]
    np.add.at(days, flight[first], _by_window(opens, asked[first], departs[flight[first]]))
    open_ = np.flatnonzero(~sold_out)
    np.add.at(days, flight[open_], _by_window(asked[open_], until[open_], departs[flight[open_]]))
    came = np.ones(len(bookings), np.bool_)
    came[order[1:]] = newest[:-1] | ~sold_out[:-1]
    return days, departs, came, horizon


def _by_window(from_ms: np.ndarray, until_ms: np.ndarray, departs_ms: np.ndarray) -> np.ndarray:
    """Days of each stretch of time in each window before departure, [n, WINDOWS]."""
    begins = np.array(WINDOW_DAYS)
    ends = np.append(begins[1:], np.inf)
    early, late = ((np.clip(departs_ms - at, 0, None) / DAY_MS)[:, None] for at in (from_ms, until_ms))
    days: np.ndarray = np.clip(np.minimum(early, ends) - np.maximum(late, begins), 0.0, None)
    return days


def fit_arrivals(bookings: Bookings, features: list[Feature], references: np.ndarray) -> Arrivals:
    """Rates and factors, by turns; the published rates where there is no past."""
    shape0, rate0 = published_windows()
    if not len(bookings):
        nothing = np.zeros((0, WINDOWS))
        return Arrivals(nothing, nothing, nothing, shape0, rate0, np.ones(7), features, 0.0)
    flights, markets = len(bookings.flight_ids), len(bookings.market_ids)
    days, departs, counts, horizon = flight_exposure(bookings)
    window = np.searchsorted(np.array(WINDOW_DAYS), bookings.days, side="right") - 1
    count = np.zeros((flights, WINDOWS))
    np.add.at(count, (bookings.flight, window), counts.astype(np.float64))
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
    own_level = np.ones(flights)
    for _ in range(ROUNDS):
        factor = np.exp(design @ weights)
        # Who is on sale late is whom few ask for: each flight's days count as many as its level says (EM, E-step).
        exposure = days * (factor * own_level)[:, None]
        came = np.zeros((markets, WINDOWS))
        there = np.zeros((markets, WINDOWS))
        np.add.at(came, market, count)
        np.add.at(there, market, exposure)
        pool = (shape0 + (came / level[:, None]).sum(0) * HISTORY_WEIGHT) / (rate0 + there.sum(0) * HISTORY_WEIGHT)
        level = (LEVEL_PRIOR + came.sum(1)) / (LEVEL_PRIOR + (there * pool).sum(1))
        prior = shape0 + 0.0 * came
        rates = (prior + came * HISTORY_WEIGHT) / (prior / (pool * level[:, None]) + there * HISTORY_WEIGHT)
        # One Newton step of a ridged regression of flights' counts, Poisson with Gamma levels (negative binomial).
        expected = (days * rates[market]).sum(1) * factor
        own_level = (FLIGHT_PRIOR + count.sum(1)) / (FLIGHT_PRIOR + expected)
        believed = FLIGHT_PRIOR / (FLIGHT_PRIOR + expected)
        residual = (count.sum(1) - expected) * believed
        curvature = (design * (expected * believed)[:, None]).T @ design
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
    after = bookings.seats_after[order]
    before = after + b.booked.astype(np.int64)
    same = b.flight[1:] == b.flight[:-1]
    came_back = np.where(same, np.maximum(before[1:] - after[:-1], 0), 0)
    sold = np.where(same, np.maximum(b.capacity[:-1] - after[:-1], 0), 0)
    passed = np.where(same, (b.asked_ms[1:] - b.asked_ms[:-1]) / DAY_MS, 0.0)
    np.add.at(per_market[:, 0], b.market[:-1], came_back)
    np.add.at(per_market[:, 1], b.market[:-1], sold * passed)
    total = (per_market - prior).sum(0)
    # The pool counts as much as its prior does: a new market is drawn to the others' rate, and learns its own.
    rate = (prior[0] + total[0]) / (prior[1] + total[1])
    return per_market, np.array([prior[1] * rate, prior[1]])
