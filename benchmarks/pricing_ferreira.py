"""Published settings where the best is known: learning with a limited stock.

    python benchmarks/pricing_ferreira.py [--trials 500] [--episodes 500] [--exploration E] [--json]

Ferreira, Simchi-Levi and Wang (2018), one product: fares 29.9, 34.9, 39.9, 44.9, a customer per period who buys with
.8, .6, .3, .1; stock alpha T. Takings are a share of the linear program's bound, which nobody exceeds in expectation.
Here pricing's posterior begins at its published airline prior, strays `exploration` posterior deviations (a new draw
whenever the periods so far grew by a tenth), and a fare is drawn from the linear program's mixture for what is left of
stock and time.

NEC (IJCAI 2024): ten periods, fares 1 to 9 or nothing for sale, Poisson demand 50 exp(-(p + t) / 5) (A) or
50 exp(-p / (.5 + .5 t)) (B), stock 30. One episode is one flight, ten days on sale; all of pricing's kernels play
it, arrivals and program included. They see the requests that do not buy, which that paper's algorithms do not; the
fare stays for a period, as there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numba import njit

sys.path.insert(0, str(Path(__file__).parents[1]))

from online.arithmetic import exp as exact_exp
from online.pricing.arrays import (
    begin_flight,
    begin_market,
    begin_pool,
    pricing_capacity,
    pricing_scratch,
    pricing_views,
)
from online.pricing.arrivals import advance_flight, observe_request
from online.pricing.demand import ladder_probabilities, logit_gradient, situation
from online.pricing.fare import choose_fare
from online.pricing.features import overlay
from online.pricing.layout import (
    BASIS,
    BASIS_DAYS,
    DAY_MS,
    DIMENSION,
    FARES_MAX,
    FEATURES_MAX,
    HIDDEN,
    INPUTS,
    PRICING_COLUMNS,
    Trunk,
)
from online.pricing.posterior import cholesky, invert, observe_outcome, roll_market, update
from online.pricing.prior import published_mean, published_precision
from online.pricing.program import bid_price_cents, solve_flight
from online.pricing.settings import Settings
from online.tables import allocate

FARES_CENTS = np.array([2_990, 3_490, 3_990, 4_490])
BUYS = np.array([0.8, 0.6, 0.3, 0.1])
MIDDLE_DAYS = 14.0  # the request of the prior that customers are taken for


@njit(cache=True)
def mixture(buys, fares, stock_per_period, out):  # type: ignore[no-untyped-def]
    """The linear program's shares of fares, max sum q pi p with sum q pi <= c, sum q <= 1; returns its value."""
    best = -1.0
    k = fares.shape[0]
    for i in range(k):
        alone = min(1.0, stock_per_period / max(buys[i], 1e-12))
        if alone * buys[i] * fares[i] > best:
            best = alone * buys[i] * fares[i]
            out[:] = 0.0
            out[i] = alone
        for j in range(k):
            if buys[i] > stock_per_period >= buys[j] and i != j:
                a = (stock_per_period - buys[j]) / (buys[i] - buys[j])
                value = a * buys[i] * fares[i] + (1.0 - a) * buys[j] * fares[j]
                if value > best:
                    best = value
                    out[:] = 0.0
                    out[i] = a
                    out[j] = 1.0 - a
    return best


@njit(cache=True)
def season(periods, stock, exploration, seed, mean, precision, trunk, x, scratch, fares, truth):  # type: ignore[no-untyped-def]
    """Takings of one selling season in cents."""
    np.random.seed(seed)
    s = scratch
    mean = mean.copy()
    precision = precision.copy()
    covariance = np.zeros((DIMENSION, DIMENSION))
    invert(precision, s.factor, s.inverse, covariance)
    reference = np.sqrt(float(fares[0]) * float(fares[-1]))
    offset = np.zeros(DIMENSION)
    shares = np.zeros(fares.shape[0])
    taken = 0
    again = 0
    for t in range(periods):
        if stock == 0:
            break
        if t >= again:
            again = t + 1 + t // 10
            offset[:] = 0.0
            if exploration > 0.0 and cholesky(covariance, s.factor):
                for j in range(DIMENSION):
                    z = exploration * np.random.normal()
                    for i in range(j, DIMENSION):
                        offset[i] += s.factor[i, j] * z
        for i in range(DIMENSION):
            s.theta[i] = mean[i] + offset[i]
        share, utility = situation(trunk, s.theta, x)
        ladder_probabilities(s.theta, share, utility, reference, fares, fares.shape[0], s.probability)
        mixture(s.probability[: fares.shape[0]], fares, stock / (periods - t), shares)
        u = np.random.random()
        k = -1
        for i in range(fares.shape[0]):
            u -= shares[i]
            if u < 0.0:
                k = i
                break
        if k < 0:
            continue  # nothing for sale in this period
        bought = np.random.random() < truth[k]
        if bought:
            stock -= 1
            taken += fares[k]
        pi = logit_gradient(trunk, mean, x, fares[k] / reference - 1.0, s.slope)
        update(mean, covariance, precision, s.slope, s.spread, pi, 1.0 if bought else 0.0)
    return taken


def ferreira(alpha: float, periods: int, trials: int, exploration: float) -> dict[str, float]:
    """Share of the bound in %, with its standard error."""
    x = np.zeros(INPUTS)
    x[:BASIS] = [exact_exp(-MIDDLE_DAYS / d) for d in BASIS_DAYS]
    trunk = Trunk(np.zeros((HIDDEN, INPUTS)), np.zeros(HIDDEN), np.zeros(HIDDEN), np.zeros(HIDDEN))
    scratch = pricing_scratch()
    stock = round(alpha * periods)
    bound = periods * mixture(BUYS, FARES_CENTS, stock / periods, np.zeros(len(BUYS)))
    took = np.array(
        [
            season(
                periods,
                stock,
                exploration,
                1_000 + trial,
                published_mean(),
                published_precision(),
                trunk,
                x,
                scratch,
                FARES_CENTS,
                BUYS,
            )
            for trial in range(trials)
        ]
    )
    share = 100.0 * took / bound
    return {
        "share": round(float(share.mean()), 2),
        "se": round(float(share.std() / np.sqrt(trials)), 2),
        "trials": trials,
    }


def demand_means(setting: str) -> np.ndarray:
    """Mean demand [period, fare - 1]; period 1 first."""
    t, p = np.arange(1.0, 11.0)[:, None], np.arange(1.0, 10.0)[None, :]
    return 50.0 * (np.exp(-(p + t) / 5.0) if setting == "A" else np.exp(-p / (0.5 + 0.5 * t)))


def best_episode(means: np.ndarray, stock: int) -> float:
    """The exact optimum's expected takings of an episode whose fare is set period by period."""
    value = np.zeros(stock + 1)
    for period in range(len(means) - 1, -1, -1):
        options = [value.copy()]
        for fare, mean in enumerate(means[period], start=1):
            chance = np.exp(-mean + np.arange(stock + 1) * np.log(mean) - log_factorials(stock))
            new = np.zeros(stock + 1)
            for n in range(stock + 1):
                sold = chance[: n + 1].copy()
                sold[n] += max(0.0, 1.0 - sold.sum())
                new[n] = (sold * (fare * np.arange(n + 1) + value[n - np.arange(n + 1)])).sum()
            options.append(new)
        value = np.max(options, axis=0)
    return float(value[stock])


def log_factorials(n: int) -> np.ndarray:
    """ln k! for k up to n."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])


def nec(setting: str, episodes: int, exploration: float, seed: int) -> dict[str, float]:
    """Takings per episode, of all and of the second half, against the optimum."""
    stock, most = 30, 50.0
    means = demand_means(setting)
    optimum = best_episode(means, stock)
    settings = Settings(exploration=exploration, drift_per_day=0.0, keep_per_day=1.0)
    arrays = allocate(PRICING_COLUMNS, {**pricing_capacity(), "markets": 1, "flights": 1})
    begin_pool(arrays)
    p = pricing_views(arrays, settings)
    ladder = np.zeros(FARES_MAX, np.int32)
    ladder[:9] = np.arange(100, 1_000, 100)
    begin_market(p, 0, 300.0, 0)
    rng = np.random.default_rng(seed)
    given = np.full(FEATURES_MAX, np.nan)
    took = np.zeros(episodes)
    for episode in range(episodes):
        opens_ms = (20_000 + 11 * episode) * DAY_MS
        departs_ms = opens_ms + 10 * DAY_MS
        begin_flight(p, 0, 0, departs_ms, stock, stock, ladder, 9)
        for name in ("arrived", "expected", "advanced_ms"):
            arrays[f"flights.{name}"][0] = 0
        left = stock
        for period in range(10):
            at_ms = opens_ms + period * DAY_MS + 1
            roll_market(p, 0, np.uint64(1), np.uint64(seed), at_ms)
            advance_flight(p, 0, at_ms)
            arrays["flights.seats_left"][0] = left
            solve_flight(p, 0, at_ms)
            if left == 0:
                break
            fare = choose_fare(p, 0, given, at_ms, bid_price_cents(p, 0, at_ms, left)) + 1
            comes = int(rng.poisson(most))
            for c in range(comes):
                then = at_ms + (c + 1) * (DAY_MS // (comes + 2))
                buys = bool(rng.random() < means[period, fare - 1] / most)
                observe_request(p, 0, 0, given, then)
                if left == 0:
                    continue
                overlay(p, 0, given)
                observe_outcome(p, 0, 0, (departs_ms - then) / DAY_MS, 100.0 * fare, float(buys))
                if buys:
                    left -= 1
                    took[episode] += fare
        advance_flight(p, 0, departs_ms)
    half = took[episodes // 2 :]
    return {
        "optimum": round(optimum, 2),
        "took": round(float(took.mean()), 2),
        "second_half": round(float(half.mean()), 2),
        "second_half_se": round(float(half.std() / np.sqrt(len(half))), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--exploration", type=float, default=Settings().exploration)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found: dict[str, object] = {}
    for alpha in (0.25, 0.5):
        for periods in (100, 500, 1_000, 5_000, 10_000):
            name = f"ferreira alpha={alpha} T={periods}"
            found[name] = row = ferreira(alpha, periods, given.trials, given.exploration)
            if not given.json:
                print(
                    f"{name:34}{row['share']:7.2f} % ± {row['se']:.2f} of the bound ({row['trials']} seasons)",
                    flush=True,
                )
    for setting in ("A", "B"):
        name = f"nec {setting} stock=30"
        found[name] = row = nec(setting, given.episodes, given.exploration, seed=1)
        if not given.json:
            print(
                f"{name:34}{row['took']:.2f} per episode of {row['optimum']:.2f}; "
                f"second half {row['second_half']:.2f} ± {row['second_half_se']:.2f}",
                flush=True,
            )
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
