"""`perennial pretrain pricing`: bookings in, artifact out. Reads top to bottom.

First every market is fitted without the hidden layer; from there the demand net is trained, hidden layer and markets
together, until the last tenth of the log by time stops improving; where it never improves on the markets alone, the
hidden layer stays empty. At last the markets are fitted again around what was learned, with everything: what is served
has seen the latest requests too. What the log does not say, published estimates do: an empty file makes an artifact as
well.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy

from batch.pricing.arrivals import cancellations, fit_arrivals, last_contexts
from batch.pricing.bookings import Bookings, no_bookings, read_bookings
from batch.pricing.features import model_inputs, read_features, reference_fares
from batch.pricing.markets import (
    FLOOR_WEIGHT,
    HISTORY_WEIGHT,
    Pooled,
    fit_markets,
    probability_and_slope,
    trunk_outputs,
)
from batch.pricing.network import DemandNet, no_trunk
from batch.pricing.scores import scores_of
from batch.progress import TrainingProgress, duration
from batch.train import chosen_device, environment
from online.artifact import Artifact, pack_ids, write_artifact
from online.pricing.layout import DIMENSION


@dataclass(frozen=True, slots=True, kw_only=True)
class PricingConfig:
    """What decides the training; the artifact's manifest keeps it."""

    seed: int = 0
    validation_share: float = 0.1  # of the rows, the latest
    validation_rows: int = 100  # fewer say nothing: then the hidden layer stays empty
    steps: int = 600  # of Adam, each over all rows up to `step_rows`
    step_rows: int = 16_384
    learning_rate: float = 0.01
    trunk_decay: float = 3.0  # of the hidden layer's weights, in units of rows
    score_every: int = 20
    patience: int = 5  # scores without improvement
    threads_max: int = 8
    rows_per_thread: int = 16_384


@dataclass(frozen=True, slots=True)
class Rows:
    """What the purchase model learns from: requests that were quoted a fare."""

    market: np.ndarray  # int64 [n]
    x: np.ndarray  # [n, INPUTS]
    ratio: np.ndarray  # [n] P
    booked: np.ndarray  # [n]

    def taken(self, which: Any) -> Rows:
        """Some of them."""
        return Rows(self.market[which], self.x[which], self.ratio[which], self.booked[which])

    def __len__(self) -> int:
        return len(self.market)


def pretrain_pricing(
    bookings_path: Path | None,
    out: Path,
    *,
    device: str = "auto",
    until_ms: int | None = None,
    quiet: bool = False,
    **changes: Any,
) -> Artifact:
    """Learn demand from the requests before until_ms and write the artifact into the folder out.

    bookings_path: CSV or Parquet; None, an empty file or a header alone start from published estimates. device: auto,
    cpu or cuda. changes: any field of PricingConfig. Raises BookingsMalformed, TooManyFeatures, ValueError.
    """
    begun_s = time.monotonic()
    config = replace(PricingConfig(), **changes)
    device = chosen_device(device)
    bookings = read_bookings(Path(bookings_path), until_ms=until_ms) if bookings_path else no_bookings()
    return pretrain_from(bookings, out, config=config, device=device, until_ms=until_ms, quiet=quiet, begun_s=begun_s)


def pretrain_from(
    bookings: Bookings,
    out: Path,
    *,
    config: PricingConfig,
    device: str = "cpu",
    until_ms: int | None = None,
    quiet: bool = False,
    begun_s: float | None = None,
) -> Artifact:
    """`pretrain_pricing` for bookings that were read already."""
    begun_s = time.monotonic() if begun_s is None else begun_s
    markets = len(bookings.market_ids)
    with TrainingProgress("pretrain", quiet=quiet) as progress:
        progress.say(
            f"{len(bookings):,} requests · {len(bookings.flight_ids):,} flights · {markets:,} markets · "
            f"{len(bookings.feature_names)} features · {device}"
        )

        # The data: features with their scales, and rows that say whether somebody bought.
        references = reference_fares(bookings)
        features = read_features(bookings, references)
        rows = learning_rows(bookings.taken(bookings.quoted), features, references)
        held = len(rows) - round(len(rows) * config.validation_share)

        # The net, judged on the tail of the log.
        trunk, metrics = no_trunk(), {"validation": None}
        if len(rows) - held >= config.validation_rows:
            trunk, metrics = fit_net(
                rows.taken(slice(0, held)), rows.taken(slice(held, None)), markets, config, device, progress
            )
            validation = metrics["validation"]
            progress.say(
                f"validation on the last {validation['n']:,} requests: log loss {validation['log_loss']:.4f} "
                f"(booked share alone {validation['base_log_loss']:.4f}), "
                f"calibration error {validation['calibration_error']:.4f}"
            )
            for bin in validation["calibration"]:
                progress.say(f"  predicted {bin['predicted']:.3f}  booked {bin['booked']:.3f}  n {bin['n']:,}")
        else:
            progress.say("too few requests to validate on: markets start close to the published estimates")

        # Each market's posterior, around the net; how many ask; who asked last; who gives seats back.
        pooled = fit_markets(rows.market, markets, rows.x, rows.ratio, rows.booked, trunk)
        arrivals = fit_arrivals(bookings, features, references)
        context, contexts = last_contexts(bookings, features)
        cancel, pool_cancel = cancellations(bookings)
        blob, starts = pack_ids(bookings.market_ids)
        precision, floor, covariance = precisions(pooled)
        tensors = {
            "pool.mean": pooled.mean[None],
            "pool.precision": np.diag(1.0 / pooled.deviation**2)[None],
            "pool.window_shape": arrivals.pool_shape[None],
            "pool.window_rate": arrivals.pool_rate[None],
            "pool.weekday": arrivals.weekday[None],
            "pool.cancel": pool_cancel[None],
            **{f"trunk.{name}": part for name, part in trunk.items()},
            "markets.ids": blob,
            "markets.id_starts": starts,
            "markets.reference_cents": references,
            "markets.mean": pooled.theta,
            "markets.precision": precision,
            "markets.floor": floor,
            "markets.covariance": covariance,
            "markets.day": np.full(markets, -1, np.int64),
            "markets.window_shape": arrivals.shape,
            "markets.window_rate": arrivals.rate,
            "markets.window_prior": arrivals.prior,
            "markets.cancel": cancel,
            "markets.context": context,
            "markets.contexts": contexts,
        }
        fields = {
            "kind": "pricing",
            "data": data_fields(bookings, until_ms),
            "configuration": {name: getattr(config, name) for name in PricingConfig.__slots__},
            "features": [feature.as_json() for feature in arrivals.features],
            "declared": bookings.feature_names,  # those that never varied in the log too
            "metrics": metrics,
            "horizon_days": arrivals.horizon_days,
            "environment": environment(device),
            "created": {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "training_s": round(time.monotonic() - begun_s, 1),
            },
        }
        written = write_artifact(Path(out), tensors, fields)
        progress.say(f"artifact {written.id} in {out} · {duration(time.monotonic() - begun_s)}")
    return written


def learning_rows(bookings: Bookings, features: list[Any], references: np.ndarray) -> Rows:
    """What the purchase model learns from."""
    ratio = bookings.fare_cents / references[bookings.market] - 1.0 if len(bookings) else np.zeros(0)
    return Rows(bookings.market, model_inputs(bookings, features, references), ratio, bookings.booked)


def precisions(pooled: Pooled) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(precision, floor, covariance), each [m, DIMENSION, DIMENSION]."""
    prior = np.diag(1.0 / pooled.deviation**2)
    precision = prior + HISTORY_WEIGHT * pooled.information
    floor = prior + FLOOR_WEIGHT * pooled.information
    covariance = np.linalg.inv(precision) if len(precision) else np.zeros((0, DIMENSION, DIMENSION))
    return precision, floor, covariance


def predicted(theta: np.ndarray, rows: Rows, trunk: dict[str, np.ndarray]) -> np.ndarray:
    """pi [n] with each row's market's parameters."""
    pi = np.zeros(len(rows))
    added = trunk_outputs(trunk, rows.x)
    for m in np.unique(rows.market):
        r = rows.market == m
        pi[r] = probability_and_slope(theta[m], rows.x[r], rows.ratio[r], added[r])[0]
    return pi


def fit_net(
    rows: Rows, tail: Rows, markets: int, config: PricingConfig, device: str, progress: TrainingProgress
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(the hidden layer, metrics): trained on rows, stopped and judged on tail."""
    alone = fit_markets(rows.market, markets, rows.x, rows.ratio, rows.booked, no_trunk())
    best_loss = scores_of(predicted(alone.theta, tail, no_trunk()), tail.booked).log_loss
    without = best_loss
    # Threads that wait for each other cost more than they bring where there is little to do.
    torch.set_num_threads(max(1, min(config.threads_max, len(rows) // config.rows_per_thread)))
    torch.manual_seed(config.seed)
    net = DemandNet(alone.theta, seed=config.seed).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
    mean = torch.as_tensor(alone.mean, dtype=torch.float32, device=device)
    deviation = torch.as_tensor(alone.deviation, dtype=torch.float32, device=device)

    def tensors(r: Rows) -> tuple[torch.Tensor, ...]:
        kinds = (torch.int64, torch.float32, torch.float32, torch.float32)
        columns = (r.market, r.x, r.ratio, r.booked)
        return tuple(torch.as_tensor(c, dtype=k, device=device) for c, k in zip(columns, kinds, strict=True))

    market, x, ratio, booked = tensors(rows)
    held = tensors(tail)
    trunk, waited, history = no_trunk(), 0, []
    began_s = time.monotonic()
    for step in range(config.steps):
        if len(rows) > config.step_rows:
            torch.manual_seed(config.seed * 1_000_003 + step)
            pick = torch.randint(len(rows), (config.step_rows,)).to(device)
            part = (market[pick], x[pick], ratio[pick], booked[pick])
        else:
            part = (market, x, ratio, booked)
        pi = net(*part[:3]).clamp(1e-6, 1.0 - 1e-6)
        loss = binary_cross_entropy(pi, part[3])
        apart = (((net.theta - mean) / deviation) ** 2).sum()
        weights = (net.input**2).sum() + 4.0 * (net.output**2).sum()
        penalty = (0.5 * apart + 0.5 * config.trunk_decay * weights) / len(rows)
        optimizer.zero_grad(set_to_none=True)
        (loss + penalty).backward()
        optimizer.step()
        if (step + 1) % config.score_every:
            continue
        with torch.no_grad():
            scored = float(binary_cross_entropy(net(*held[:3]).clamp(1e-6, 1.0 - 1e-6), held[3]))
        if not np.isfinite(scored):
            raise FloatingPointError(f"the loss is {scored} at step {step}; a smaller learning_rate may help")
        history.append({"step": step + 1, "loss": float(loss.detach()), "validation": scored})
        pace = (step + 1) / (time.monotonic() - began_s)
        left_s = (config.steps - step - 1) / pace
        text = f"step {step + 1} · {pace * len(part[3]):,.0f} rows/s · loss {history[-1]['loss']:.4f}"
        progress.tell(
            share=(step + 1) / config.steps, text=f"{text} · validation {scored:.4f} · {duration(left_s)} left"
        )
        waited += 1
        if scored < best_loss - 1e-4:
            best_loss, trunk, waited = scored, net.trunk(), 0
        if waited >= config.patience:
            break
    final = fit_markets(rows.market, markets, rows.x, rows.ratio, rows.booked, trunk) if best_loss < without else alone
    validation = scores_of(predicted(final.theta, tail, trunk), tail.booked)
    if validation.log_loss > without:
        trunk = no_trunk()
        validation = scores_of(predicted(alone.theta, tail, trunk), tail.booked)
    return trunk, {
        "validation": validation.as_json(),
        "without_hidden_layer": without,
        "steps": history[-1]["step"] if history else 0,
        "history": history,
    }


def data_fields(bookings: Bookings, until_ms: int | None) -> dict[str, Any]:
    """What was learned from, and its digest."""
    hasher = blake3.blake3()
    for array in (*pack_ids(bookings.market_ids), *pack_ids(bookings.flight_ids), *pack_ids(bookings.feature_names)):
        hasher.update(np.ascontiguousarray(array).tobytes())
    for name in ("flight", "market", "departs_ms", "asked_ms", "fare_cents", "booked", "seats_left", "features"):
        hasher.update(np.ascontiguousarray(getattr(bookings, name)).tobytes())
    return {
        "requests": len(bookings),
        "flights": len(bookings.flight_ids),
        "markets": len(bookings.market_ids),
        "first_at_ms": int(bookings.asked_ms[0]) if len(bookings) else None,
        "last_at_ms": int(bookings.asked_ms[-1]) if len(bookings) else None,
        "until_ms": until_ms,
        "digest": hasher.hexdigest(),
    }
