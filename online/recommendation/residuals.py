"""Residuals: what live learning adds to the trained vectors and biases of the items, bounded on every side.

AdaGrad on the loss of `online.recommendation.mixing`, one running sum of squares per item. Every step is clipped to
STEP_MAX, every move pulls the vector a little back to where training left it, and it never gets further away than
RADIUS times the trained vector's length: no stream of events, however hostile, can carry an item away.
"""

import numpy as np

from online.compiling import kernel
from online.recommendation.codes import encode
from online.recommendation.layout import DIMENSION, ItemArrays

STEP_MAX = np.float32(0.1)  # length of one step of a vector, size of one of a bias
RADIUS = np.float32(0.5)
BIAS_MAX = np.float32(2.0)
FIRST_GRADIENT = np.float32(1e-2)
NEIGHBOURS = 32.0  # takes over which a new item's vector is the mean of its takers' last items
_ONE = np.float32(1.0)


@kernel
def move_item(
    items: ItemArrays,
    item: int,
    query: np.ndarray,
    user: int,
    tasteful: bool,
    gradient: float,
    vector_rate: float,
    bias_rate: float,
    anchor: float,
) -> None:
    """One step of an item. query: f4 [users, DIMENSION]; gradient: of the loss by the item's score, its probability,
    less 1 for the taken item."""
    g = np.float32(gradient)
    items.gradient[item] += g * g
    scale = _ONE / np.sqrt(FIRST_GRADIENT + items.gradient[item])
    step = np.float32(bias_rate) * g * scale
    step = min(STEP_MAX, max(-STEP_MAX, step))
    bias = items.bias[item] * (_ONE - np.float32(anchor)) - step
    items.bias[item] = min(BIAS_MAX, max(-BIAS_MAX, bias))
    if not tasteful or items.trained[item] == 0 or vector_rate == 0.0:
        return
    length = np.float32(0.0)
    for k in range(DIMENSION):
        length += query[user, k] * query[user, k]
    length = np.sqrt(length)
    if length == np.float32(0.0):
        return
    # The query's length is divided out: a step is as long as its rate says, however loud the query.
    factor = np.float32(vector_rate) * g * scale / length
    if factor * length > STEP_MAX:
        factor = STEP_MAX / length
    elif factor * length < -STEP_MAX:
        factor = -STEP_MAX / length
    pull = np.float32(anchor)
    away = np.float32(0.0)
    far = np.float32(0.0)
    for k in range(DIMENSION):
        home = items.anchor[item, k]
        moved = (items.vector[item, k] - home) * (_ONE - pull) - factor * query[user, k]
        items.vector[item, k] = home + moved
        away += moved * moved
        far += home * home
    if away > RADIUS * RADIUS * far:
        shrink = np.sqrt(RADIUS * RADIUS * far / away)
        for k in range(DIMENSION):
            home = items.anchor[item, k]
            items.vector[item, k] = home + (items.vector[item, k] - home) * shrink
    encode(items.vector, item, items.code, items.code_step, item)


@kernel
def settle_new(items: ItemArrays, item: int, neighbour: int) -> None:
    """An item that training has not seen: its vector is the mean of the vectors of its takers' last items."""
    taken = float(items.taken[item])
    if items.trained[item] != 0 or taken >= NEIGHBOURS or neighbour < 0 or neighbour == item:
        return
    share = np.float32(1.0 / (taken + 1.0))
    for k in range(DIMENSION):
        items.vector[item, k] += (items.vector[neighbour, k] - items.vector[item, k]) * share
    encode(items.vector, item, items.code, items.code_step, item)
