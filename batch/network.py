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

NORM_EPSILON = 1e-6


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
    """Items in time order -> after each of them, a query vector whose products with the items' vectors rank
    the next.
    """

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
        u, r, o = self.mix_in(c).chunk(3, dim=-1)  # [L, B, m] each
        r = gate(self.rate) * gate(r)
        keep = (1.0 - r) * (age > 0).unsqueeze(-1)
        h = scan(keep, r * u)
        x = x + self.dropout(self.mix_out(h * (o * gate(o))))
        p, q = self.feed_in(normalised(x, self.feed_gain)).chunk(2, dim=-1)  # [L, B, f] each
        return x + self.dropout(self.feed_out(p * (q * gate(q))))


def normalised(x: Tensor, gain: Tensor) -> Tensor:
    """RMSNorm, arXiv:1910.07467: x / sqrt(mean(x^2)) * gain over the last dimension."""
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + NORM_EPSILON) * gain


def convolve(x: Tensor, taps: Tensor, age: Tensor) -> Tensor:
    """Causal, one filter per channel: y_t = sum_k taps[k] x_{t-k}, inside a sequence. x: [L, B, d], taps: [k,
    d].
    """
    y = x * taps[0]
    for k in range(1, len(taps)):
        past = torch.cat([torch.zeros_like(x[:k]), x[:-k]]) if k < len(x) else torch.zeros_like(x)
        y = y + past * ((age >= k).unsqueeze(-1) * taps[k])
    return y


def gate(x: Tensor) -> Tensor:
    """(1 + x / (1 + |x|)) / 2: a sigmoid without an exponential."""
    return _Gate.apply(x)


def ungate(y: Tensor) -> Tensor:
    """The inverse of gate on (0, 1)."""
    s = 2.0 * y - 1.0
    return s / (1.0 - s.abs())


def scan(keep: Tensor, add: Tensor) -> Tensor:
    """h_t = keep_t h_{t-1} + add_t along the first dimension, h_{-1} = 0. keep, add: [L, B, m] -> h: [L, B,
    m].
    """
    return _Scan.apply(keep.contiguous(), add.contiguous())


class _Gate(torch.autograd.Function):
    """One saved tensor instead of autograd's four."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        s = x / (x.abs() + 1.0)
        ctx.save_for_backward(s)
        return s * 0.5 + 0.5

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (s,) = ctx.saved_tensors
        return (1.0 - s.abs()).square() * gradient * 0.5


class _Scan(torch.autograd.Function):
    """The gradient of a scan is a scan backwards: g_t += keep_{t+1} g_{t+1}."""

    @staticmethod
    def forward(ctx, keep: Tensor, add: Tensor) -> Tensor:
        h = _doubled(keep, add) if add.is_cuda else _stepped(keep, add)
        ctx.save_for_backward(keep, h)
        return h

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        keep, h = ctx.saved_tensors
        later = torch.cat([keep[1:], torch.zeros_like(keep[:1])])
        if gradient.is_cuda:
            d_add = _doubled(later.flip(0), gradient.flip(0)).flip(0)
        else:
            d_add = torch.empty_like(gradient)
            d_add[-1] = gradient[-1]
            for t in range(len(gradient) - 2, -1, -1):
                torch.addcmul(gradient[t], later[t], d_add[t + 1], out=d_add[t])
        d_keep = torch.cat([torch.zeros_like(h[:1]), d_add[1:] * h[:-1]])
        return d_keep, d_add


def _stepped(keep: Tensor, add: Tensor) -> Tensor:
    """One pass, step by step over [B, m]: on a CPU the passes over memory cost, not the L small calls."""
    h = torch.empty_like(add)
    h[0] = add[0]
    for t in range(1, len(add)):
        torch.addcmul(add[t], keep[t], h[t - 1], out=h[t])
    return h


def _doubled(keep: Tensor, add: Tensor) -> Tensor:
    """log2(L) passes (Hillis & Steele 1986): on a GPU the calls cost, not the passes."""
    step = 1
    while step < len(add):
        add = torch.cat([add[:step], add[step:] + keep[step:] * add[:-step]])
        keep = torch.cat([keep[:step], keep[step:] * keep[:-step]])
        step *= 2
    return add


def exported(network: Network) -> dict[str, np.ndarray]:
    """The weights as the fold reads them: `backbone.*` float32, layers stacked, matrices as [inputs,
    outputs].
    """

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
