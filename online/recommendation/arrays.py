"""The learners' arrays as callers take them: views for the kernels, an artifact's content, and upkeep.

Stable for callers: `LEARNER_COLUMNS`, `EXPERTS`, `Learners`, `learners`, `learner_capacity`, `load_artifact`,
`rebuild_derived`, `forget_items`.
"""

from typing import TYPE_CHECKING

import numpy as np

from online.artifact import Artifact, item_ids, item_vectors
from online.chance import hash64
from online.recommendation.backbone import Backbone, read_backbone, scratch_size
from online.recommendation.cells import build_cells
from online.recommendation.codes import encode_all
from online.recommendation.layout import (
    BACKBONE_FLOATS,
    CANDIDATES_MAX,
    CELLS_MAX,
    CONTEXT_PLACES,
    DESCRIBED,
    DIMENSION,
    EXPERTS,
    FEATURES,
    FOUND_MAX,
    HIDDEN,
    KINDS_MAX,
    LEARNER_COLUMNS,
    LISTED_MAX,
    POPULARITIES,
    SHARES,
    SPARSE,
    TOUCHED_MAX,
    UNITS,
    WIDTH,
    CellArrays,
    ContextArrays,
    ItemArrays,
    KindArrays,
    Learners,
    MixingArrays,
    Scratch,
    UserArrays,
    learner_capacity,
)
from online.recommendation.memory import close_up
from online.recommendation.popularity import count_again
from online.recommendation.settings import Settings, knobs
from online.tables import Array

if TYPE_CHECKING:
    from online.state import State

__all__ = [
    "DESCRIBED",
    "EXPERTS",
    "LEARNER_COLUMNS",
    "ArtifactUnsuitable",
    "Learners",
    "forget_items",
    "learner_capacity",
    "learners",
    "load_artifact",
    "rebuild_derived",
    "warm_tensors",
]
WARM = "learners."  # prefix of an artifact's tensors that hold the learners' state after the batch


class ArtifactUnsuitable(ValueError):
    """An artifact whose shapes this service cannot hold; the message says which."""


def backbone_shapes(layers: int, d: int, m: int, f: int, k: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the backbone's weights, in its order: layers, dimension, memories, feed-forward, taps."""
    return {
        "input_gain": (d,),
        "taps": (k, d),
        "mix_gain": (layers, d),
        "mix_in": (layers, d, 3 * m),
        "mix_bias": (layers, 3 * m),
        "rate": (layers, m),
        "mix_out": (layers, m, d),
        "feed_gain": (layers, d),
        "feed_in": (layers, d, 2 * f),
        "feed_out": (layers, f, d),
        "output_gain": (d,),
    }


def backbone_of(weights: Array, shape: Array) -> Backbone:
    """Views of the flat weights; shape: layers, dimension, memories, feed-forward, taps. All zeros: no layers, and
    every query is 0."""
    layers, d, m, f, k = (int(n) for n in shape)
    if d == 0:
        layers, d, m, f, k = 0, DIMENSION, 1, 1, 1
    parts = {}
    used = 0
    for name, part in backbone_shapes(layers, d, m, f, k).items():
        size = int(np.prod(part))
        parts[name] = weights[used : used + size].reshape(part)
        used += size
    return Backbone(**parts)


def learners(arrays: dict[str, Array], settings: Settings) -> Learners:
    """The kernels' view of the columns, with room to work in."""
    items = arrays["items.vector"].shape[0]
    weights = arrays["backbone.weights"]
    if weights.shape[0] == 0:  # a worker's views: queries come ready with the users
        weights = np.zeros(BACKBONE_FLOATS, np.float32)
        weights.flags.writeable = False
    shape = arrays["backbone_shape.shape"]
    chosen = backbone_of(weights, shape if shape.shape[0] else np.zeros(5, np.int64))
    return Learners(
        knobs=knobs(settings),
        backbone=chosen,
        users=UserArrays(**{name: arrays[f"users.{name}"] for name in UserArrays._fields}),
        items=ItemArrays(**{name: arrays[f"items.{name}"] for name in ItemArrays._fields}),
        contexts=ContextArrays(**{name: arrays[f"contexts.{name}"] for name in ContextArrays._fields}),
        mixing=MixingArrays(
            trust=arrays["mixture.trust"],
            weight=arrays["mixing.weight"],
            gradient=arrays["mixing.gradient"],
            kin=arrays["mixing.kin"],
            kin_gradient=arrays["mixing.kin_gradient"],
            clock=arrays["mixing_clock.clock"],
            response=arrays["mixing_response.response"],
            inner=arrays["rescorer.inner"],
            inner_gradient=arrays["rescorer.inner_gradient"],
            outer=arrays["rescorer_units.outer"],
            outer_gradient=arrays["rescorer_units.outer_gradient"],
            total=arrays["popularity.total"],
            origin_ms=arrays["popularity.origin_ms"],
            top=arrays["popularity.top"],
            newest=arrays["newest.row"],
            came=arrays["newest_count.count"],
        ),
        kinds=KindArrays(
            key=arrays["kinds.key"],
            taken=arrays["kinds.taken"],
            known=arrays["kinds_known.known"],
            counted=arrays["kinds_counted.counted"],
        ),
        cells=CellArrays(
            centre=arrays["cells.centre"], start=arrays["cells_start.start"], row=arrays["cells_rows.row"]
        ),
        scratch=scratch(items, scratch_size(chosen)),
    )


def scratch(items: int, backbone_floats: int) -> Scratch:
    """Room to work in for a table of `items` rows."""
    return Scratch(
        mark=np.full(items, -1, np.int32),
        stamp=np.zeros(items, np.int64),
        seen=np.zeros(items, np.int64),
        stamps=np.zeros(1, np.int64),
        order=np.zeros(CANDIDATES_MAX, np.int32),
        touched=np.zeros(TOUCHED_MAX, np.int32),
        held=np.zeros(TOUCHED_MAX, np.int32),
        share=np.zeros((TOUCHED_MAX, SPARSE), np.float32),
        lanes=np.zeros(16, np.float32),
        query_code=np.zeros((1, DIMENSION), np.int8),
        query_step=np.zeros(1, np.float32),
        sparse=np.zeros(TOUCHED_MAX, np.float32),
        popular=np.zeros(POPULARITIES, np.float32),
        weight=np.zeros(FEATURES, np.float32),
        trust=np.zeros(SHARES, np.float32),
        kin=np.zeros(1, np.float32),
        kinship=np.zeros(KINDS_MAX, np.float32),
        inner=np.zeros((FEATURES, UNITS), np.float32),
        start=np.zeros(UNITS, np.float32),
        outer=np.zeros(UNITS, np.float32),
        units=np.zeros((UNITS, WIDTH), np.float32),
        inner_step=np.zeros((FEATURES, UNITS), np.float32),
        context_rows=np.full(CONTEXT_PLACES, -1, np.int32),
        used=np.zeros(1, np.int64),
        backbone=np.zeros(max(1, backbone_floats), np.float32),
        listed=np.zeros(LISTED_MAX, np.int32),
        found=np.zeros(FOUND_MAX, np.int32),
        value=np.zeros(FOUND_MAX, np.float32),
        keys=np.zeros(LISTED_MAX + CANDIDATES_MAX, np.uint64),
        near=np.zeros(CELLS_MAX, np.float32),
        nearest=np.zeros(CELLS_MAX, np.int32),
        candidate=np.zeros(CANDIDATES_MAX, np.int32),
        candidate_share=np.zeros((SHARES, WIDTH), np.float32),
        candidate_feature=np.zeros((FEATURES, WIDTH), np.float32),
        candidate_mixture=np.zeros(WIDTH, np.float32),
        candidate_kinship=np.zeros(WIDTH, np.float32),
        candidate_score=np.zeros(CANDIDATES_MAX, np.float64),
    )


def load_artifact(state: "State", artifact: Artifact, *, known_users: bool) -> None:
    """Put an artifact's items, vectors, backbone and warm learners into a state that is empty; its users if asked to.

    Raises ArtifactUnsuitable where its shapes are not those of this version.
    """
    backbone = read_backbone(artifact.tensors)
    layers, memories = backbone.rate.shape
    taps, dimension = backbone.taps.shape
    size = layers * memories + (taps - 1) * dimension
    floats = sum(part.size for part in backbone)
    if dimension > DIMENSION or size > HIDDEN or floats > BACKBONE_FLOATS:
        raise ArtifactUnsuitable(
            f"artifact {artifact.id}: dimension {dimension} (at most {DIMENSION}), hidden state of {size} floats "
            f"(at most {HIDDEN}), {floats} weights (at most {BACKBONE_FLOATS})"
        )
    ids, vectors = item_ids(artifact), item_vectors(artifact)
    state.ensure("items", len(ids))
    for item_id in ids:
        state.add_item(hash64(item_id), item_id)
    arrays = state.arrays
    flat = np.concatenate([np.ascontiguousarray(part).reshape(-1) for part in backbone])
    arrays["backbone.weights"][: flat.size] = flat
    arrays["backbone_shape.shape"][:] = (layers, dimension, memories, backbone.feed_out.shape[1], taps)
    for name in ("items.vector", "items.anchor"):
        arrays[name][: len(ids), :dimension] = vectors
    arrays["items.trained"][: len(ids)] = 1
    _load_warm(state, artifact, known_users)
    arrays.update(build_cells(arrays["items.anchor"][: len(ids)]))
    state.rebind()
    rebuild_derived(state.views.learners)


def _load_warm(state: "State", artifact: Artifact, known_users: bool) -> None:
    users = artifact.tensors.get(WARM + "users.key", np.zeros(0, np.uint64))
    if known_users:
        state.ensure("users", len(users))
        for key in users:
            state.add_user(int(key))
    for column in LEARNER_COLUMNS:
        tensor = artifact.tensors.get(WARM + column.name)
        if tensor is None or (column.table == "users" and not known_users):
            continue
        target = state.arrays[column.name][: tensor.shape[0]]
        if target.shape != tensor.shape or target.dtype != tensor.dtype:
            raise ArtifactUnsuitable(
                f"artifact {artifact.id}: {column.name} is {tensor.dtype}{list(tensor.shape)}, "
                f"this version keeps {target.dtype}{list(target.shape)}: train it again"
            )
        target[...] = tensor


def warm_tensors(state: "State", *, users_max: int = 0) -> dict[str, Array]:
    """What an artifact keeps of the learners after a pass over the batch; of the users those seen last, at most
    `users_max`, the longest ago first.

    The artifact's items must be the first items of the state, in the same order.
    """
    count = state.count("users")
    seen = np.argsort(state.arrays["users.last_position"][:count], kind="stable")
    users = seen[max(0, count - users_max) :]
    tensors = {WARM + "users.key": state.arrays["users.key"][users]}
    for column in LEARNER_COLUMNS:
        if column.derived:
            continue
        array = state.arrays[column.name]
        if column.table == "users":
            array = array[users]
        elif column.table == "items":
            array = array[: state.count("items")]
        tensors[WARM + column.name] = np.ascontiguousarray(array)
    return tensors


def forget_items(learners: Learners, gone: Array) -> None:
    """After rows of items were given back: sums and lists of the most popular are made anew, memories closed up.
    gone: rows."""
    items, contexts = learners.items, learners.contexts
    count_again(items, learners.mixing, items.heat.shape[0])
    close_up(items.fast_item, items.fast_count)
    close_up(items.slow_item, items.slow_count)
    close_up(items.around_item, items.around_count)
    close_up(contexts.item, contexts.count)
    items.code[gone] = 0
    items.code_step[gone] = 0.0


def rebuild_derived(learners: Learners) -> None:
    """After vectors were loaded: their codes; and room to work in starts clean."""
    items = learners.items
    encode_all(items.vector, items.code, items.code_step, items.vector.shape[0])
    learners.scratch.mark[:] = -1
    learners.scratch.used[0] = 0
