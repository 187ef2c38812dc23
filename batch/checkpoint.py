"""Checkpoints of a training run: one safetensors file, its state as JSON in the header. Nothing is ever
unpickled.

Chance in training is a function of (seed, step), so there is no generator to keep: weights, the optimizer's
moments and the state say everything, and the resumed curve is the uninterrupted one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from online.durable import write_durably


class CheckpointForeign(Exception):
    """A checkpoint of other data or of another configuration stands where this run would keep its own."""

    def __init__(self, path: Path, *, what: str, expected: Any, actual: Any) -> None:
        super().__init__(
            f"{path}: {what} is {actual}, this run has {expected}. Delete the file, or choose another folder."
        )
        self.path = path
        self.expected = expected
        self.actual = actual


def save_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any], identity: dict[str, Any]
) -> None:
    """Write atomically. state: JSON, what the loop needs; identity: JSON, what must be equal to resume."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()})
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(
        contiguous, metadata={"state": json.dumps(state), "identity": json.dumps(identity, sort_keys=True)}
    )
    write_durably(path, content)


def load_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, Any]
) -> dict[str, Any] | None:
    """Fill network and optimizer in place and return the state; None where there is no checkpoint.

    Raises CheckpointForeign where the identity differs.
    """
    if not path.exists():
        return None
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    found, expected = json.loads(metadata["identity"]), json.loads(json.dumps(identity))
    for what in sorted(expected | found):
        if found.get(what) != expected.get(what):
            raise CheckpointForeign(path, what=what, expected=expected.get(what), actual=found.get(what))
    weights = {n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")}
    network.load_state_dict(weights)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, moment = name.split(".", 2)
            moments.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    state: dict[str, Any] = json.loads(metadata["state"])
    return state
