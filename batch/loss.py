"""The loss: which item came next, among all of them or among enough of them.

Softmax cross-entropy whose gradient is made in the same pass, chunk by chunk: logits are the largest thing in
training, and this way they never leave the cache (on a GPU: never need its memory all at once). Over 3.4 k
items the full softmax costs as much time as the network itself and is worth it; past some thousands, shared
uniform negatives stand for the rest, weighted so that the loss still estimates the full one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

CHUNK_LOGITS = {"cpu": 2_000_000, "cuda": 64_000_000}


def full_softmax(query: Tensor, vectors: Tensor, target: Tensor, *, precision: torch.dtype) -> Tensor:
    """Mean cross-entropy over all items. query: [T, d], vectors: [n, d], target: int64 [T] -> []."""
    return _FullSoftmax.apply(query, vectors, target, precision)


def sampled_softmax(
    query: Tensor, vectors: Tensor, target: Tensor, negative: Tensor, *, precision: torch.dtype
) -> Tensor:
    """Mean cross-entropy against shared uniform negatives. negative: int64 [s] -> [].

    Each negative stands for (n - 1) / s items (log Q correction, Bengio & Senecal 2008, for a uniform Q).
    """
    own = (query * vectors[target]).sum(dim=-1)  # [T]
    return _SampledSoftmax.apply(
        query, vectors[negative], own, target, negative, math.log((len(vectors) - 1) / len(negative)), precision
    )


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query: Tensor, vectors: Tensor, target: Tensor, precision: torch.dtype) -> Tensor:
        d_query, d_vectors = torch.empty_like(query), torch.zeros_like(vectors)
        items = vectors.to(precision)
        total = query.new_zeros(())
        for chunk in _chunks(len(query), len(vectors), query.device.type):
            q, y = query[chunk].to(precision), target[chunk].unsqueeze(1)
            p = torch.softmax((q @ items.T).float(), dim=1)  # [chunk, n]
            own = p.gather(1, y)
            total -= own.clamp_min(1e-30).log().sum()
            p = p.scatter_(1, y, own - 1.0).to(precision)
            d_query[chunk] = p @ items
            d_vectors += p.T @ q
        ctx.save_for_backward(d_query.div_(len(query)), d_vectors.div_(len(query)))
        return total / len(query)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        d_query, d_vectors = ctx.saved_tensors
        return d_query * gradient, d_vectors * gradient, None, None


class _SampledSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        query: Tensor,
        vectors: Tensor,
        own: Tensor,
        target: Tensor,
        negative: Tensor,
        log_weight: float,
        precision: torch.dtype,
    ) -> Tensor:
        d_query, d_vectors, d_own = torch.empty_like(query), torch.zeros_like(vectors), torch.empty_like(own)
        items = vectors.to(precision)
        total = query.new_zeros(())
        for chunk in _chunks(len(query), len(vectors), query.device.type):
            q, s = query[chunk].to(precision), own[chunk].unsqueeze(1)
            logits = (q @ items.T).float().add_(log_weight)  # [chunk, s]
            logits.masked_fill_(target[chunk].unsqueeze(1) == negative, -math.inf)
            top = torch.maximum(logits.amax(dim=1, keepdim=True), s)
            weight, own_weight = logits.sub_(top).exp_(), (s - top).exp()
            mass = weight.sum(dim=1, keepdim=True) + own_weight
            total += (mass.log() + top - s).sum()
            p = weight.div_(mass).to(precision)
            d_query[chunk] = p @ items
            d_vectors += p.T @ q
            d_own[chunk] = (own_weight / mass - 1.0).squeeze(1)
        scale = 1.0 / len(query)
        ctx.save_for_backward(d_query * scale, d_vectors * scale, d_own * scale)
        return total * scale

    @staticmethod
    def backward(ctx, gradient: Tensor):
        d_query, d_vectors, d_own = ctx.saved_tensors
        return d_query * gradient, d_vectors * gradient, d_own * gradient, None, None, None, None


def _chunks(tokens: int, items: int, device: str) -> list[slice]:
    size = max(64, CHUNK_LOGITS[device] // max(items, 1))
    return [slice(i, min(i + size, tokens)) for i in range(0, tokens, size)]
