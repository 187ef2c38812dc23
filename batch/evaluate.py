"""`perennial evaluate recommendation`: the batch model alone on the published leave-one-out protocol.

Of every user with at least three items the last is the test, the one before validates, the rest trains (Kang
& McAuley, ICDM 2018). Ranking is over the full catalogue without what the user took before, and the test's
past includes the validation item, as in the published figures that full ranking is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from batch.configuration import as_json, configuration_for, what_decides
from batch.network import Network
from batch.progress import TrainingProgress
from batch.ranking import Scores, scores_of, target_ranks
from batch.sequences import Sequences, read_sequences, token_count
from batch.train import TooFewInteractions, chosen_device, data_digest, fit
from online.interactions import read_interactions


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """What the protocol gave: test and validation scores, training steps and seconds, the configuration."""

    test: Scores
    validation: Scores
    steps: int
    seconds: float
    configuration: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {
            "protocol": "leave-one-out",
            "test": self.test.as_json(),
            "validation": self.validation.as_json(),
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "configuration": self.configuration,
        }


def evaluate_leave_one_out(
    interactions_path: Path,
    *,
    device: str = "auto",
    checkpoint: Path | None = None,
    quiet: bool = False,
    **changes: Any,
) -> LeaveOneOut:
    """Train on all but each user's last two items, then rank the last over the full catalogue.

    interactions_path: CSV, Parquet, or a .txt of lines `user item item ...`. checkpoint: a file to keep the
    run in, from which it goes on when started again. changes: any field of TrainingConfig, e.g. minutes=60.
    Raises InteractionsMalformed, TooFewInteractions, CheckpointForeign.
    """
    device = chosen_device(device)
    interactions = read_interactions(Path(interactions_path))
    sequences = read_sequences(interactions)
    sequences = long_enough(sequences)
    training = sequences.without_last(2)
    tokens = token_count(training)
    if tokens < 1:
        raise TooFewInteractions(f"{interactions_path}: leave-one-out needs users with at least four items.")
    config = configuration_for(tokens=tokens, items=len(interactions.item_ids), device=device, **changes)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    network = Network(config.network, items=len(interactions.item_ids), dropout=config.dropout).to(device)
    users = np.arange(len(sequences))
    some = np.random.Generator(np.random.Philox(key=[config.seed, 2**40])).permutation(users)
    some = np.sort(some[: config.validation_users])

    def validate(trained: Network) -> Scores:
        return scores_of(target_ranks(trained, sequences, some, sequences.lengths[some] - 2))

    with TrainingProgress("leave-one-out", quiet=quiet) as progress:
        events, items = len(sequences.item), len(interactions.item_ids)
        progress.say(f"{events:,} interactions · {len(users):,} users · {items:,} items · {device}")
        progress.say(f"{config}")
        result = fit(
            network,
            stable=training,
            decay=training,
            validate=validate,
            config=config,
            checkpoint=checkpoint,
            identity={
                "protocol": "leave-one-out",
                "configuration": what_decides(config),
                "data": data_digest(sequences, interactions.item_ids),
            },
            progress=progress,
        )
    return LeaveOneOut(
        test=scores_of(target_ranks(network, sequences, users, sequences.lengths - 1)),
        validation=scores_of(target_ranks(network, sequences, users, sequences.lengths - 2)),
        steps=result.steps,
        seconds=result.seconds,
        configuration=as_json(config),
    )


def long_enough(sequences: Sequences) -> Sequences:
    """The users with at least three items: one to learn from, one to validate, one to test."""
    mask = sequences.lengths >= 3
    events = np.repeat(mask, sequences.lengths)
    start = np.concatenate([[0], np.cumsum(sequences.lengths[mask])])
    return Sequences(sequences.item[events], sequences.at_ms[events], start)
