"""The one configuration of a training run: typed, frozen, printed, stored in the artifact beside what was learned."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import torch

from batch.network import NetworkConfig

FULL_SOFTMAX_ITEMS = 8_192


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """Everything that decides the curve, besides the data. Sizes are in tokens: steps with a next item."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    seed: int = 0
    epochs: int = 40  # at most; `minutes` and `patience` may end earlier
    minutes: float | None = None  # a time budget; with one, the curve depends on the machine's speed
    row_tokens: int = 256  # a row's length: how far gradients reach back
    step_tokens: int = 4_096
    negatives: int = 0  # shared by all tokens of a step; 0 is the full softmax
    dropout: float = 0.2
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    gradient_norm: float = 1.0
    warmup_steps: int = 200
    decay_share: float = 0.4  # of all steps: the learning rate falls to zero over the last ones
    patience: int = 4  # validations without a better NDCG before the decay begins
    validation_share: float = 0.1  # of the time-ordered events: held out until the decay begins; 0 is none
    validation_users: int = 400
    precision: str = "float32"  # of the large products: float32 or bfloat16
    threads: int = 1  # on a CPU; the bits of the result depend on it

    def __post_init__(self) -> None:
        for name in ("epochs", "row_tokens", "step_tokens", "patience", "validation_users", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        for name in ("dropout", "decay_share", "validation_share"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, got {self.precision}")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes must be positive, got {self.minutes}")


def configuration_for(*, tokens: int, items: int, device: str, **changes: Any) -> TrainingConfig:
    """The defaults by the size of the data; `changes` win.

    A step holds 1/32 of an epoch, within [128, 4096] tokens (up to 32,768 on a GPU), so that small data still takes
    enough steps. Epochs are what 15 M tokens allow, within [6, 40]; early stopping ends most runs before. Warm-up is
    two epochs, at most 200 steps. The full softmax up to 8,192 items, 1,024 shared negatives beyond. Dropout 0.3 and
    a learning rate of 4e-3 under 100,000 tokens, 0.2 and 3e-3 from there. One thread for steps under 4,096 tokens,
    the cores that nobody uses beyond: threads that wait for a core spin, and cost ten times what they give.
    """
    largest = 32_768 if device == "cuda" else 4_096
    step_tokens = min(max(1 << max(tokens // 32, 1).bit_length() - 1, 128), largest)
    defaults: dict[str, Any] = {
        "step_tokens": step_tokens,
        "row_tokens": max(min(256, step_tokens // 8, tokens), 1),
        "epochs": min(max(15_000_000 // max(tokens, 1), 6), 40),
        "warmup_steps": min(max(2 * tokens // step_tokens, 10), 200),
        "negatives": 0 if items <= FULL_SOFTMAX_ITEMS else 1_024,
        "dropout": 0.3 if tokens < 100_000 else 0.2,
        "learning_rate": 4e-3 if tokens < 100_000 else 3e-3,
        "precision": fast_precision(device),
        "threads": 1 if step_tokens < 4_096 else idle_cores(),
    }
    unknown = set(changes) - {f.name for f in fields(TrainingConfig)}
    if unknown:
        raise ValueError(f"no such setting: {', '.join(sorted(unknown))}")
    return replace(TrainingConfig(), **{**defaults, **changes})


def idle_cores() -> int:
    """Threads that torch was given, less the cores that are busy (load average of the last minute); at least one."""
    return max(1, torch.get_num_threads() - round(os.getloadavg()[0]))


def fast_precision(device: str) -> str:
    """bfloat16 where the processor multiplies it natively: products took 0.4 of the time; losses agreed to 1e-4."""
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "bfloat16" if supported is not None and supported() else "float32"


def as_json(config: TrainingConfig) -> dict[str, Any]:
    return asdict(config)


def what_decides(config: TrainingConfig) -> dict[str, Any]:
    """What must be equal for a run to go on from its checkpoint: all but the time and the threads that it is given."""
    return {name: value for name, value in as_json(config).items() if name not in ("minutes", "threads")}


def from_json(values: dict[str, Any]) -> TrainingConfig:
    """The inverse of as_json. Raises TypeError on an unknown name."""
    return TrainingConfig(**{**values, "network": NetworkConfig(**values["network"])})
