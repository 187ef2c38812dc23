"""The backbone: a gated linear recurrence over a person's items. It trains like a transformer and serves like
a counter.

Each layer keeps `channels` memories. With u the candidate, r in (0, 1) the rate at which a memory is
rewritten:
    h_t = (1 - r_t) h_{t-1} + r_t u_t            r_t = gate(rate) * gate(W_r x_t)
so that a memory is a running mean whose half-life the data decides: `rate` is spread from fast to slow at the
start. The recurrence is linear in h, so it is a scan: parallel in training, one step for each event in
service (`online/recommendation/backbone.py`, the same numbers). After minGRU (arXiv:2410.01201), RG-LRU
(arXiv:2402.19427), LRURec (WSDM 2024). Only + - * / sqrt and |x|: IEEE 754 defines them exactly, so serving
is exact on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from batch.pointwise import convolve, gate, gated, normalised, remember, ungate


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """The shape of the backbone; the defaults make 0.12 M parameters besides the items' vectors."""

    dimension: int = 64  # d: of an item's vector and of the query
    channels: int = 128  # m: memories per layer
    hidden: int = 128  # of the feed-forward part
    layers: int = 2
    taps: int = 4  # the convolution before the first layer's gates sees this many last items

    def __post_init__(self) -> None:
        if min(self.dimension, self.channels, self.hidden, self.layers, self.taps) < 1:
            raise ValueError(f"every size of the network must be at least 1, got {self}")


class Network(nn.Module):
    """Items in time order -> after each, a query vector whose products with the items' vectors rank the next."""

    def __init__(self, config: NetworkConfig, *, items: int, dropout: float = 0.0) -> None:
        super().__init__()
        d = config.dimension
        self.config = config
        self.items = nn.Embedding(items, d)
        self.input_gain = nn.Parameter(torch.ones(d))
        layers = (Layer(config, first=i == 0, dropout=dropout) for i in range(config.layers))
        self.layers = nn.ModuleList(layers)
        self.output_gain = nn.Parameter(torch.full((d,), 0.5))
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.items.weight, std=0.1)

    def forward(self, item: Tensor, age: Tensor) -> Tensor:
        """item: int64 [L, B], time first; age: int64 [L, B], 0 where a sequence begins. -> queries [L, B, d].

        Several sequences may follow each other in one column: where age is 0 nothing of the past is left.
        """
        x = normalised(self.items(item), self.input_gain)  # [L, B, d]
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, age)
        return normalised(x, self.output_gain)


class Layer(nn.Module):
    """Recurrence, then a gated feed-forward part; both residual, both normalised before."""

    def __init__(self, config: NetworkConfig, *, first: bool, dropout: float) -> None:
        super().__init__()
        d, m, f = config.dimension, config.channels, config.hidden
        self.mix_gain = nn.Parameter(torch.ones(d))
        if first:
            # The state of a convolution is its last inputs: cheap here only, where those are item vectors.
            taps = torch.full((config.taps, d), 0.1)
            taps[0] = 1.0
            self.taps = nn.Parameter(taps)
        else:
            self.register_parameter("taps", None)
        self.mix_in = nn.Linear(d, 3 * m)  # candidate, rate, output gate
        self.rate = nn.Parameter(ungate(torch.logspace(math.log10(0.005), math.log10(0.95), m)))
        self.mix_out = nn.Linear(m, d, bias=False)
        self.feed_gain = nn.Parameter(torch.ones(d))
        self.feed_in = nn.Linear(d, 2 * f, bias=False)
        self.feed_out = nn.Linear(f, d, bias=False)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.mix_in.weight, std=0.7 * d**-0.5)
        nn.init.zeros_(self.mix_in.bias)
        nn.init.normal_(self.mix_out.weight, std=0.5 * m**-0.5)
        nn.init.normal_(self.feed_in.weight, std=0.7 * d**-0.5)
        nn.init.normal_(self.feed_out.weight, std=0.5 * f**-0.5)

    def forward(self, x: Tensor, age: Tensor) -> Tensor:
        """x: [L, B, d], age: [L, B] -> [L, B, d]."""
        c = normalised(x, self.mix_gain)
        if self.taps is not None:
            c = convolve(c, self.taps, age)
        y = remember(self.mix_in(c), gate(self.rate), age)  # [L, B, 3 m] -> [L, B, m]
        x = x + self.dropout(self.mix_out(y))
        y = gated(self.feed_in(normalised(x, self.feed_gain)))  # [L, B, 2 f] -> [L, B, f]
        return x + self.dropout(self.feed_out(y))


def exported(network: Network) -> dict[str, np.ndarray]:
    """The weights as the fold reads them: `backbone.*` float32, layers stacked, matrices as [inputs, outputs]."""

    def stacked(name: str) -> np.ndarray:
        arrays = [layer.get_parameter(name).detach().float().cpu() for layer in network.layers]
        return np.stack([(a.T if name.endswith("weight") else a).numpy() for a in arrays])

    rates = torch.stack([gate(layer.rate.detach().float().cpu()) for layer in network.layers])
    tensors = {
        "backbone.input_gain": network.input_gain.detach().float().cpu().numpy(),  # [d]
        "backbone.taps": network.layers[0].taps.detach().float().cpu().numpy(),  # [k, d]
        "backbone.mix_gain": stacked("mix_gain"),  # [layers, d]
        "backbone.mix_in": stacked("mix_in.weight"),  # [layers, d, 3 m]
        "backbone.mix_bias": stacked("mix_in.bias"),  # [layers, 3 m]
        "backbone.rate": rates.numpy(),  # [layers, m]
        "backbone.mix_out": stacked("mix_out.weight"),  # [layers, m, d]
        "backbone.feed_gain": stacked("feed_gain"),  # [layers, d]
        "backbone.feed_in": stacked("feed_in.weight"),  # [layers, d, 2 f]
        "backbone.feed_out": stacked("feed_out.weight"),  # [layers, f, d]
        "backbone.output_gain": network.output_gain.detach().float().cpu().numpy(),  # [d]
    }
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def import_weights(network: Network, tensors: dict[str, np.ndarray]) -> None:
    """The inverse of exported, in place; the items' vectors are the caller's."""

    def put(parameter: Tensor, array: np.ndarray) -> None:
        if tuple(parameter.shape) != array.shape:
            raise ValueError(f"weights of shape {array.shape} do not fit {tuple(parameter.shape)}")
        parameter.data.copy_(torch.from_numpy(np.ascontiguousarray(array)))

    put(network.input_gain, tensors["backbone.input_gain"])
    put(network.output_gain, tensors["backbone.output_gain"])
    put(network.layers[0].taps, tensors["backbone.taps"])
    for i, layer in enumerate(network.layers):
        put(layer.mix_gain, tensors["backbone.mix_gain"][i])
        put(layer.mix_in.weight, tensors["backbone.mix_in"][i].T)
        put(layer.mix_in.bias, tensors["backbone.mix_bias"][i])
        put(layer.rate, ungate(torch.from_numpy(tensors["backbone.rate"][i].copy())).numpy())
        put(layer.mix_out.weight, tensors["backbone.mix_out"][i].T)
        put(layer.feed_gain, tensors["backbone.feed_gain"][i])
        put(layer.feed_in.weight, tensors["backbone.feed_in"][i].T)
        put(layer.feed_out.weight, tensors["backbone.feed_out"][i].T)
