"""Markets by their ids: those of an artifact, and those that come with their first flight."""

from typing import TYPE_CHECKING

import numpy as np

from online.arithmetic import exp, log
from online.artifact import Artifact
from online.chance import hash64
from online.pricing.arrays import (
    PricingArtifactUnsuitable,
    artifact_markets,
    begin_market,
    load_artifact,
    load_markets,
)
from online.rows import add_row, find_row

if TYPE_CHECKING:
    from online.state import State


def load_pricing(state: "State", artifact: Artifact) -> None:
    """Put an artifact into a state that is empty. Raises PricingArtifactUnsuitable."""
    load_artifact(state.arrays, artifact)
    names = artifact_markets(artifact)
    if len(names) > state.most("markets"):
        raise PricingArtifactUnsuitable(f"artifact {artifact.id} has {len(names)} markets; set pricing.markets_max")
    state.ensure("markets", len(names))
    rows = [int(add_row(state.views.selling.markets, np.uint64(hash64(name)))) for name in names]
    load_markets(state.arrays, artifact, rows)


def market_row(state: "State", market: str, floor_cents: int, ceiling_cents: int) -> int:
    """The market's row; a new one begins from what the others are. -1 where there is no room for it."""
    key = np.uint64(hash64(market))
    row = int(find_row(state.views.selling.markets, key))
    if row < 0:
        if state.count("markets") >= state.most("markets"):
            return -1
        state.ensure("markets", 1)
        row = int(add_row(state.views.selling.markets, key))
        reference = exp(0.5 * (log(float(max(floor_cents, 1))) + log(float(max(ceiling_cents, 1)))))
        begin_market(state.views.pricing, row, reference, state.count("markets"))
    return row


def feature_names(artifact: Artifact | None) -> tuple[str, ...] | None:
    """The features that an artifact's log named, those that never varied there too. None: any name may come, without an
    artifact or after a log that named none; it is watched and used as one without a past."""
    if artifact is None:
        return None
    known = [feature["name"] for feature in artifact.manifest["features"]]
    return tuple(artifact.manifest.get("declared", known)) or None
