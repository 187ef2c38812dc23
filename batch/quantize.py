"""Item vectors in int8: a quarter of the bytes, one scale per item, and what that costs in NDCG."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from batch.ranking import Scores


def quantize(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [n, d] -> int8 [n, d] and scale float32 [n]: row i is about int8[i] * scale[i].

    The largest number of each row maps to 127, so an error is at most half a scale. Zeros have scale 0.
    """
    largest = np.abs(vectors).max(axis=1) if vectors.shape[1] else np.zeros(len(vectors), vectors.dtype)
    scale = (largest / 127.0).astype(np.float32)
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.rint(vectors * inverse[:, None]).astype(np.int8), scale


def restored(small: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """int8 [n, d], scale [n] -> float32 [n, d]: the same product that a reader of the artifact computes."""
    return small.astype(np.float32) * scale[:, None]


def quantized(
    vectors: np.ndarray, score: Callable[[np.ndarray], Scores]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The artifact's tensors for int8 vectors, and the NDCG@10 with and without."""
    small, scale = quantize(vectors)
    exact, coarse = score(vectors), score(restored(small, scale))
    cost = {"ndcg@10": coarse.ndcg_at_10, "ndcg@10_float32": exact.ndcg_at_10}
    return {"items.vectors": small, "items.scale": scale}, cost
