"""From a request's named numbers to the inputs of the demand model: the arithmetic of `online.pricing`, in bulk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from batch.pricing.bookings import Bookings
from online.pricing.demand import WEEKDAY_COS, WEEKDAY_SIN
from online.pricing.features import LOGARITHM_ABOVE
from online.pricing.layout import BASIS_DAYS, FEATURE_CLIP, FEATURES_MAX, FIRST_FEATURE_INPUT, INPUTS
from online.pricing.personal import is_personal


class TooManyFeatures(ValueError):
    """More features than a state has places for."""


@dataclass(frozen=True, slots=True)
class Feature:
    """name: without `feature_`; kind: linear, or logarithm of its ratio to the market's reference fare."""

    name: str
    kind: str
    shift: float
    scale: float
    default: float | None  # what a request counts as that does not give it; None: a logarithm's, relative to the market
    of_flight: bool  # the same for all requests of a flight
    arrival_weight: float = 0.0

    def scaled(self, values: np.ndarray, reference_cents: np.ndarray) -> np.ndarray:
        """values [n] as the model takes them; 0 where not given."""
        with np.errstate(divide="ignore", invalid="ignore"):
            x = values if self.kind == "linear" else np.log(values / reference_cents)
        z = np.clip((x - self.shift) / self.scale, -FEATURE_CLIP, FEATURE_CLIP)
        return np.where(np.isfinite(x), z, 0.0)

    def as_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        fields = ("name", "kind", "shift", "scale", "default", "of_flight", "arrival_weight")
        return {name: getattr(self, name) for name in fields}


def reference_fares(bookings: Bookings) -> np.ndarray:
    """The fare at which P = 0, per market in cents, float64 [m]: the geometric middle of the fares it was quoted."""
    references = np.zeros(len(bookings.market_ids))
    quoted = np.isfinite(bookings.fare_cents)
    for market in range(len(references)):
        fares = bookings.fare_cents[quoted & (bookings.market == market)]
        if len(fares):
            low, high = np.quantile(fares, [0.01, 0.99])
            references[market] = np.sqrt(low * high)
    known = references[references > 0.0]
    references[references == 0.0] = np.exp(np.log(known).mean()) if len(known) else 20_000.0
    return references


def read_features(bookings: Bookings, references: np.ndarray) -> list[Feature]:
    """The file's features and their scales, in the order of its columns. Raises TooManyFeatures and ValueError."""
    names = bookings.feature_names
    if len(names) > FEATURES_MAX:
        raise TooManyFeatures(
            f"{len(names)} feature columns; at most {FEATURES_MAX} are supported. Drop those that say least."
        )
    for name in names:
        if is_personal(name):
            raise ValueError(f"feature_{name} looks like personal data, which must not set a fare. Drop the column.")
    found = []
    reference = references[bookings.market] if len(bookings) else np.zeros(0)
    for j, name in enumerate(names):
        values = bookings.features[:, j]
        there = np.isfinite(values)
        seen = values[there]
        if len(np.unique(seen)) < 2:
            # Nothing to learn a scale from: it is declared, and watched live as a new one would be.
            continue
        if seen.min() > 0.0 and seen.max() > LOGARITHM_ABOVE:
            kind, x, default = "logarithm", np.log(seen / reference[there]), None
        else:
            kind, x, default = "linear", seen, float(seen.mean())
        shift, scale = float(x.mean()), max(float(x.std()), 1e-9)
        found.append(Feature(name, kind, shift, scale, default, _constant_within(bookings.flight[there], seen)))
    return found


def _constant_within(flight: np.ndarray, values: np.ndarray) -> bool:
    order = np.lexsort((values, flight))
    flight, values = flight[order], values[order]
    same = flight[1:] == flight[:-1]
    return bool(same.any() and (values[1:][same] == values[:-1][same]).all())


def weekdays(departs_ms: np.ndarray) -> np.ndarray:
    """0 is Monday."""
    return (departs_ms // 86_400_000 + 3) % 7


def model_inputs(bookings: Bookings, features: list[Feature], references: np.ndarray) -> np.ndarray:
    """What the trunk sees of each request, float64 [n, INPUTS]."""
    x = np.zeros((len(bookings), INPUTS))
    x[:, : len(BASIS_DAYS)] = np.exp(-bookings.days[:, None] / np.array(BASIS_DAYS))
    day = weekdays(bookings.departs_ms)
    x[:, len(BASIS_DAYS)] = WEEKDAY_SIN[day]
    x[:, len(BASIS_DAYS) + 1] = WEEKDAY_COS[day]
    for j, feature in enumerate(features):
        column = bookings.feature_names.index(feature.name)
        x[:, FIRST_FEATURE_INPUT + j] = feature.scaled(bookings.features[:, column], references[bookings.market])
    return x
