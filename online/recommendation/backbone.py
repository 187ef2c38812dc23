"""The backbone's step: one item folded into one person's hidden state, exactly.

The same recurrence as `batch/network.py` trains (see there for the equations), without torch: fixed-order
loops out of + - * / sqrt and |x| in float32. Every inner loop runs over independent outputs, so the compiler
vectorises it while each output keeps the order of its own sum: the same bits on every machine.

A hidden state holds, in this order: the memories of each layer [layers * m], and the first layer's last
inputs, newest first [(k - 1) * d]. Zeros are the state of someone who has no past.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numba import njit

from online.compiling import kernel

NORM_EPSILON = np.float32(1e-6)
PREFIX = "backbone."


class Backbone(NamedTuple):
    """Weights, float32, matrices as [inputs, outputs]. d: dimension, m: memories, f: feed-forward, k: taps."""

    input_gain: np.ndarray  # [d]
    taps: np.ndarray  # [k, d]
    mix_gain: np.ndarray  # [layers, d]
    mix_in: np.ndarray  # [layers, d, 3 m]: candidate, rate, output gate
    mix_bias: np.ndarray  # [layers, 3 m]
    rate: np.ndarray  # [layers, m]
    mix_out: np.ndarray  # [layers, m, d]
    feed_gain: np.ndarray  # [layers, d]
    feed_in: np.ndarray  # [layers, d, 2 f]
    feed_out: np.ndarray  # [layers, f, d]
    output_gain: np.ndarray  # [d]


def read_backbone(tensors: Mapping[str, np.ndarray]) -> Backbone:
    """The backbone of an artifact's tensors. Raises KeyError, naming the tensor, where one is absent."""
    return Backbone(*(np.ascontiguousarray(tensors[PREFIX + n], dtype=np.float32) for n in Backbone._fields))


def state_size(backbone: Backbone) -> int:
    """Floats of one hidden state."""
    layers, m = backbone.rate.shape
    k, d = backbone.taps.shape
    return int(layers * m + (k - 1) * d)


def scratch_size(backbone: Backbone) -> int:
    """Floats of working memory that `step` needs."""
    d = backbone.taps.shape[1]
    m, f = backbone.rate.shape[1], backbone.feed_out.shape[1]
    return int(2 * d + max(3 * m, 2 * f))


@kernel
def step(backbone: Backbone, hidden: np.ndarray, item_vector: np.ndarray, out: np.ndarray, scratch: np.ndarray) -> None:
    """Fold one item into hidden, in place, and write the query that follows it.

    hidden: float32 [state_size]; item_vector: float32 [d]; out: float32 [d], an item's score is out . its
    vector; scratch: float32 [scratch_size], its content is of no meaning before and after.
    """
    layers, m = backbone.rate.shape
    k, d = backbone.taps.shape
    f = backbone.feed_out.shape[1]
    one, half = np.float32(1.0), np.float32(0.5)
    x = out  # the residual stream grows where the query will stand
    c, y, z = scratch[:d], scratch[d : 2 * d], scratch[2 * d :]
    past = hidden[layers * m :]  # [(k - 1) * d]
    _normalise(item_vector, backbone.input_gain, x)
    for layer in range(layers):
        _normalise(x, backbone.mix_gain[layer], c)
        mixed = c
        if layer == 0:
            taps = backbone.taps
            for j in range(d):
                y[j] = c[j] * taps[0, j]
            for t in range(1, k):
                for j in range(d):
                    y[j] += past[(t - 1) * d + j] * taps[t, j]
            for i in range((k - 1) * d - 1, d - 1, -1):
                past[i] = past[i - d]
            if k > 1:
                for j in range(d):
                    past[j] = c[j]
            mixed = y
        for j in range(3 * m):
            z[j] = backbone.mix_bias[layer, j]
        _add_product(mixed, backbone.mix_in[layer], z)
        memory = hidden[layer * m : (layer + 1) * m]
        rate = backbone.rate[layer]
        for j in range(m):
            g, o = z[m + j], z[2 * m + j]
            r = rate[j] * ((one + g / (one + abs(g))) * half)
            h = (one - r) * memory[j] + r * z[j]
            memory[j] = h
            z[j] = h * (o * ((one + o / (one + abs(o))) * half))
        _add_product(z[:m], backbone.mix_out[layer], x)
        _normalise(x, backbone.feed_gain[layer], c)
        for j in range(2 * f):
            z[j] = np.float32(0.0)
        _add_product(c, backbone.feed_in[layer], z)
        for j in range(f):
            q = z[f + j]
            z[j] = z[j] * (q * ((one + q / (one + abs(q))) * half))
        _add_product(z[:f], backbone.feed_out[layer], x)
    _normalise(x, backbone.output_gain, x)


@njit(cache=True, fastmath=False, inline="always")
def _normalise(x: np.ndarray, gain: np.ndarray, y: np.ndarray) -> None:
    """y = x / sqrt(mean(x^2) + epsilon) * gain; y may be x."""
    total = np.float32(0.0)
    for i in range(len(x)):
        total += x[i] * x[i]
    scale = np.float32(1.0) / np.sqrt(total / np.float32(len(x)) + NORM_EPSILON)
    for i in range(len(x)):
        y[i] = x[i] * scale * gain[i]


@kernel
def _add_product(x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    """y[j] += sum_i x[i] w[i, j], i in order. Four rows at a time: y is loaded a quarter as often, same bits."""
    n, outputs = w.shape
    whole = n - n % 4
    for i in range(0, whole, 4):
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        w0, w1, w2, w3 = w[i], w[i + 1], w[i + 2], w[i + 3]
        for j in range(outputs):
            y[j] = (((y[j] + x0 * w0[j]) + x1 * w1[j]) + x2 * w2[j]) + x3 * w3[j]
    for i in range(whole, n):
        for j in range(outputs):
            y[j] += x[i] * w[i, j]
