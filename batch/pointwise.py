"""What the network does besides matrix products: normalise, convolve, remember, gate.

Each twice: as torch operations, which are the definition and run on any device, and as one fused pass forwards and
one backwards for float32 on a CPU, where every further pass over memory costs as much as the arithmetic. Measured on
one core: a training step of 4,096 items took 0.134 s with the first, and 0.098 s with the second (600 items to rank).
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

NORM_EPSILON = 1e-6


def fused(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32


def gate(x: Tensor) -> Tensor:
    """(1 + x / (1 + |x|)) / 2: a sigmoid without an exponential."""
    return 0.5 + 0.5 * (x / (1.0 + x.abs()))


def ungate(y: Tensor) -> Tensor:
    """The inverse of gate on (0, 1)."""
    s = 2.0 * y - 1.0
    return s / (1.0 - s.abs())


def normalised(x: Tensor, gain: Tensor) -> Tensor:
    """RMSNorm, arXiv:1910.07467: x / sqrt(mean(x^2)) * gain over the last dimension. x: [..., d], gain: [d]."""
    if fused(x):
        return _Normalise.apply(x.contiguous(), gain)
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + NORM_EPSILON) * gain


def convolve(x: Tensor, taps: Tensor, age: Tensor) -> Tensor:
    """Causal, one filter per channel, inside a sequence: y_t = sum_k taps[k] x_{t-k}.

    x: [L, B, d], taps: [k, d], age: int64 [L, B] -> [L, B, d].
    """
    if fused(x):
        return _Convolve.apply(x.contiguous(), taps, age)
    y = x * taps[0]
    for k in range(1, min(len(taps), len(x))):
        past = torch.cat([torch.zeros_like(x[:k]), x[:-k]])
        y = y + past * ((age >= k).unsqueeze(-1) * taps[k])
    return y


def remember(z: Tensor, rate: Tensor, age: Tensor) -> Tensor:
    """The recurrence and its output gate.

    z: [L, B, 3 m], candidate u, rate r and output gate o; rate: [m] in (0, 1); age: int64 [L, B] -> [L, B, m]:
        r_t = rate gate(r);  h_t = (1 - r_t) h_{t-1} + r_t u_t, h_{t-1} = 0 at age 0;  y_t = h_t o_t gate(o_t)
    """
    z = z.float() if z.dtype == torch.bfloat16 else z
    if fused(z):
        return _Remember.apply(z.contiguous(), rate, age)
    u, r, o = z.chunk(3, dim=-1)
    r = rate * gate(r)
    h = scan((1.0 - r) * (age > 0).unsqueeze(-1), r * u)
    return h * (o * gate(o))


def gated(z: Tensor) -> Tensor:
    """z: [..., 2 f], p and q -> p q gate(q): [..., f]."""
    z = z.float() if z.dtype == torch.bfloat16 else z
    if fused(z):
        return _Gated.apply(z.contiguous())
    p, q = z.chunk(2, dim=-1)
    return p * (q * gate(q))


def scan(keep: Tensor, add: Tensor) -> Tensor:
    """h_t = keep_t h_{t-1} + add_t along the first dimension, h_{-1} = 0, in log2(L) passes (Hillis & Steele 1986).

    On a GPU the number of calls costs, not the passes. keep, add: [L, B, m] -> h: [L, B, m].
    """
    return _Scan.apply(keep, add)


class _Scan(torch.autograd.Function):
    """The gradient of a scan is a scan backwards: g_t += keep_{t+1} g_{t+1}."""

    @staticmethod
    def forward(ctx, keep: Tensor, add: Tensor) -> Tensor:
        h = _doubled(keep, add)
        ctx.save_for_backward(keep, h)
        return h

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        keep, h = ctx.saved_tensors
        later = torch.cat([keep[1:], torch.zeros_like(keep[:1])])
        d_add = _doubled(later.flip(0), gradient.flip(0)).flip(0)
        d_keep = torch.cat([torch.zeros_like(h[:1]), d_add[1:] * h[:-1]])
        return d_keep, d_add


def _doubled(keep: Tensor, add: Tensor) -> Tensor:
    step = 1
    while step < len(add):
        add = torch.cat([add[:step], add[step:] + keep[step:] * add[:-step]])
        keep = torch.cat([keep[:step], keep[step:] * keep[:-step]])
        step *= 2
    return add


# The fused passes. Training may reassociate sums (fastmath): the fold has its own, exact step.


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, gain: Tensor) -> Tensor:
        y = torch.empty_like(x)
        inverse = torch.empty(x.numel() // x.shape[-1])
        _normalise(_rows(x), _array(gain), _rows(y), _array(inverse))
        ctx.save_for_backward(x, gain, inverse)
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, gain, inverse = ctx.saved_tensors
        d_x, d_gain = torch.empty_like(x), torch.zeros_like(gain)
        _normalise_back(
            _rows(x), _array(gain), _array(inverse), _rows(gradient.contiguous()), _rows(d_x), _array(d_gain)
        )
        return d_x, d_gain


@njit(cache=True, fastmath=True, nogil=True)
def _normalise(x, gain, y, inverse):  # x, y: [n, d]
    n, d = x.shape
    for i in range(n):
        total = np.float32(0.0)
        for j in range(d):
            total += x[i, j] * x[i, j]
        s = np.float32(1.0) / np.sqrt(total / np.float32(d) + np.float32(NORM_EPSILON))
        inverse[i] = s
        for j in range(d):
            y[i, j] = x[i, j] * s * gain[j]


@njit(cache=True, fastmath=True, nogil=True)
def _normalise_back(x, gain, inverse, d_y, d_x, d_gain):
    n, d = x.shape
    for i in range(n):
        s = inverse[i]
        dot = np.float32(0.0)
        for j in range(d):
            dot += d_y[i, j] * gain[j] * x[i, j]
        c = dot * s * s * s / np.float32(d)
        for j in range(d):
            d_x[i, j] = d_y[i, j] * gain[j] * s - c * x[i, j]
            d_gain[j] += d_y[i, j] * x[i, j] * s


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, taps: Tensor, age: Tensor) -> Tensor:
        y = torch.empty_like(x)
        _convolve(_array(x), _array(taps), _array(age), _array(y))
        ctx.save_for_backward(x, taps, age)
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, taps, age = ctx.saved_tensors
        d_x, d_taps = torch.zeros_like(x), torch.zeros_like(taps)
        _convolve_back(_array(x), _array(taps), _array(age), _array(gradient.contiguous()), _array(d_x), _array(d_taps))
        return d_x, d_taps, None


@njit(cache=True, fastmath=True, nogil=True)
def _convolve(x, taps, age, y):  # x, y: [L, B, d]
    length, columns, d = x.shape
    for t in range(length):
        for b in range(columns):
            for j in range(d):
                y[t, b, j] = x[t, b, j] * taps[0, j]
            for k in range(1, min(len(taps), age[t, b] + 1, t + 1)):
                for j in range(d):
                    y[t, b, j] += x[t - k, b, j] * taps[k, j]


@njit(cache=True, fastmath=True, nogil=True)
def _convolve_back(x, taps, age, d_y, d_x, d_taps):
    length, columns, d = x.shape
    for t in range(length):
        for b in range(columns):
            for k in range(min(len(taps), age[t, b] + 1, t + 1)):
                for j in range(d):
                    d_x[t - k, b, j] += d_y[t, b, j] * taps[k, j]
                    d_taps[k, j] += d_y[t, b, j] * x[t - k, b, j]


class _Remember(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z: Tensor, rate: Tensor, age: Tensor) -> Tensor:
        length, columns, three = z.shape
        h, y = (torch.empty(length, columns, three // 3) for _ in range(2))
        _remember(_array(z), _array(rate), _array(age), _array(h), _array(y))
        ctx.save_for_backward(z, rate, age, h)
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor):
        z, rate, age, h = ctx.saved_tensors
        d_z, d_rate = torch.empty_like(z), torch.zeros_like(rate)
        _remember_back(
            _array(z),
            _array(rate),
            _array(age),
            _array(h),
            _array(gradient.contiguous()),
            _array(d_z),
            _array(d_rate),
        )
        return d_z, d_rate, None


@njit(cache=True, fastmath=True, nogil=True)
def _remember(z, rate, age, h, y):  # z: [L, B, 3 m], h, y: [L, B, m]
    length, columns, m = h.shape
    one, half = np.float32(1.0), np.float32(0.5)
    nothing = np.zeros(m, np.float32)
    for t in range(length):
        for b in range(columns):
            before = h[t - 1, b] if t > 0 and age[t, b] > 0 else nothing
            now, zt, yt = h[t, b], z[t, b], y[t, b]
            for j in range(m):
                g, o = zt[m + j], zt[2 * m + j]
                r = rate[j] * (half + half * (g / (one + abs(g))))
                v = (one - r) * before[j] + r * zt[j]
                now[j] = v
                yt[j] = v * (o * (half + half * (o / (one + abs(o)))))


@njit(cache=True, fastmath=True, nogil=True)
def _remember_back(z, rate, age, h, d_y, d_z, d_rate):
    length, columns, m = h.shape
    one, half = np.float32(1.0), np.float32(0.5)
    nothing = np.zeros(m, np.float32)
    later = np.zeros((columns, m), np.float32)  # what the next step says about this h
    for t in range(length - 1, -1, -1):
        for b in range(columns):
            lives = t > 0 and age[t, b] > 0
            before = h[t - 1, b] if lives else nothing
            keeps = one if lives else np.float32(0.0)
            now, zt, dy, dz, carry = h[t, b], z[t, b], d_y[t, b], d_z[t, b], later[b]
            for j in range(m):
                u, g, o = zt[j], zt[m + j], zt[2 * m + j]
                s, so = g / (one + abs(g)), o / (one + abs(o))
                gs, go = half + half * s, half + half * so
                r = rate[j] * gs
                d_h = dy[j] * o * go + carry[j]
                d_r = d_h * (u - before[j])
                dz[j] = d_h * r
                dz[m + j] = d_r * rate[j] * half * (one - abs(s)) * (one - abs(s))
                dz[2 * m + j] = dy[j] * now[j] * (go + o * half * (one - abs(so)) * (one - abs(so)))
                d_rate[j] += d_r * gs
                carry[j] = d_h * (one - r) * keeps


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z: Tensor) -> Tensor:
        y = torch.empty(*z.shape[:-1], z.shape[-1] // 2)
        _gated(_rows(z), _rows(y))
        ctx.save_for_backward(z)
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        d_z = torch.empty_like(z)
        _gated_back(_rows(z), _rows(gradient.contiguous()), _rows(d_z))
        return d_z


@njit(cache=True, fastmath=True, nogil=True)
def _gated(z, y):  # z: [n, 2 f], y: [n, f]
    n, f = y.shape
    one, half = np.float32(1.0), np.float32(0.5)
    for i in range(n):
        for j in range(f):
            q = z[i, f + j]
            y[i, j] = z[i, j] * (q * (half + half * (q / (one + abs(q)))))


@njit(cache=True, fastmath=True, nogil=True)
def _gated_back(z, d_y, d_z):
    n, f = d_y.shape
    one, half = np.float32(1.0), np.float32(0.5)
    for i in range(n):
        for j in range(f):
            q = z[i, f + j]
            s = q / (one + abs(q))
            g = half + half * s
            d_z[i, j] = d_y[i, j] * q * g
            d_z[i, f + j] = d_y[i, j] * z[i, j] * (g + q * half * (one - abs(s)) * (one - abs(s)))


def _array(x: Tensor) -> np.ndarray:
    return x.detach().numpy()


def _rows(x: Tensor) -> np.ndarray:
    """[..., d] -> [n, d]."""
    return x.detach().numpy().reshape(-1, x.shape[-1])
