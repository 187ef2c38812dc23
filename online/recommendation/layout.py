"""The learners' arrays: every number that they keep, declared once; and the kernels' views of them.

Three tables: `users` and `items` grow with the frame's, `contexts` is fixed (a directory with its own eviction, see
`online.recommendation.context`); the rest are a few rows each. Columns that no decision reads are not served, and are
then empty in a worker's views.

`online.recommendation.arrays` makes them, and hands on what callers need.
"""

from typing import NamedTuple

import numpy as np

from online.recommendation.backbone import Backbone
from online.recommendation.settings import Knobs, Settings
from online.tables import Array, Column

DIMENSION = 64  # of an item's vector; an artifact with another one does not fit
HIDDEN = 448  # floats of a user's hidden state; a backbone may use fewer
RING = 32  # a user's last items
NEXT_SLOTS = 64  # followers that an item remembers, for each of two half-lives
AROUND_SLOTS = 128  # neighbours that an item remembers
CONTEXT_SLOTS = 128  # items that a context remembers
CONTEXT_ROWS = 8_192
CONTEXT_FEATURES = 8  # of one moment
CONTEXT_PLACES = CONTEXT_FEATURES + 2  # beside those: everything, whatever the context; and all of it as one value
HALF_LIVES_S = (90.0, 300.0, 1_200.0, 7_200.0, 86_400.0, 30 * 86_400.0)  # of popularity
POPULARITIES = len(HALF_LIVES_S)
TOP = 64  # most popular items kept in order, for each half-life
BACKBONE_FLOATS = 1 << 18
TOUCHED_MAX = 4_096  # items that the memories may bring up for one score
KINDS = 4  # of one item, see `online.recommendation.kinds`
KINDS_MAX = 1_024  # of all items
SEGMENTS = 5  # of a user's situation, see `online.recommendation.mixing`

# A share is what one expert gives an item of all that it expects to be taken: the mixture's parts.
S_POPULARITY = 0
S_NEXT_FAST = POPULARITIES  # after the last item, the one before, any earlier one
S_NEXT_SLOW = S_NEXT_FAST + 3
S_AROUND = S_NEXT_SLOW + 3
S_CONTEXT = S_AROUND + 1
S_NEW = S_CONTEXT + CONTEXT_PLACES  # the newest items, before anything is known of them
SHARES = S_NEW + 1
FIRST_SPARSE = S_NEXT_FAST  # shares of popularity every item has, the memories' only the items that they hold
SPARSE = SHARES - FIRST_SPARSE

# One number per feature of the score: every share by itself, then what they make together, and what else is known.
F_MIXTURE = SHARES
F_TASTE = F_MIXTURE + 1
F_RESPONSE = F_TASTE + 1
F_AGE = F_RESPONSE + 1
FEATURES = F_AGE + 1
UNITS = 24  # of the rescorer's hidden layer
NEWEST = 64  # items that count as new
CELLS_MAX = 512  # see `online.recommendation.cells`
LISTED_MAX = 1_024  # candidates of one ranking
FOUND_MAX = 1 << 16  # items looked at to find them

EXPERTS = ("popularity", "taste", "item", "response", "next", "around", "context", "new", "together", "kind")
E_POPULARITY, E_TASTE, E_ITEM, E_RESPONSE, E_NEXT, E_AROUND, E_CONTEXT, E_NEW, E_TOGETHER, E_KIND = range(len(EXPERTS))
EXPERT_OF_SHARE = np.array(
    [E_POPULARITY] * POPULARITIES + [E_NEXT] * 6 + [E_AROUND] + [E_CONTEXT] * CONTEXT_PLACES + [E_NEW], dtype=np.int64
)


class UserArrays(NamedTuple):
    """Per user: where the backbone stands, and the last items."""

    hidden: Array  # f4 [users, HIDDEN]
    query: Array  # f4 [users, DIMENSION], the backbone's answer to the hidden state
    ring: Array  # i4 [users, RING] item rows, -1 none; the newest stands at (taken - 1) % RING
    ring_at_ms: Array  # i8 [users, RING]
    taken: Array  # i8 [users] items ever taken


class ItemArrays(NamedTuple):
    """Per item: its vector, what followed it and what is near it."""

    vector: Array  # f4 [items, DIMENSION]
    code: Array  # i1 [items, DIMENSION] the vector in 8 bits, see `online.recommendation.codes`
    code_step: Array  # f4 [items]
    anchor: Array  # f4 [items, DIMENSION] the vector as trained, zeros for an item that came later
    gradient: Array  # f4 [items] sum of squares, of AdaGrad
    bias: Array  # f4 [items]
    trained: Array  # u1 [items] 1: the vector came with the artifact
    taken: Array  # f4 [items] how often it was taken
    shown: Array  # f4 [items] decayed: impressions, weighted
    reward: Array  # f4 [items] decayed: rewards of those
    response: Array  # f4 [items] what those two say, in bits; 0 for an item that was never shown
    since_ms: Array  # f8 [items] event time when it came or was first taken, 0 before
    heat: Array  # f4 [items, POPULARITIES] decayed counts, see `online.recommendation.popularity`
    fast_item: Array  # i4 [items, NEXT_SLOTS], see `online.recommendation.memory`
    fast_count: Array  # f4 [items, NEXT_SLOTS]
    fast_total: Array  # f4 [items]
    fast_at_ms: Array  # f8 [items]
    slow_item: Array  # i4 [items, NEXT_SLOTS]
    slow_count: Array  # f4 [items, NEXT_SLOTS]
    slow_total: Array  # f4 [items]
    slow_at_ms: Array  # f8 [items]
    kind: Array  # i4 [items, KINDS] rows of its kinds, -1 none
    around_item: Array  # i4 [items, AROUND_SLOTS]
    around_count: Array  # f4 [items, AROUND_SLOTS]
    around_total: Array  # f4 [items]
    around_at_ms: Array  # f8 [items]


class ContextArrays(NamedTuple):
    """Per context value: what is taken there."""

    key: Array  # u8 [CONTEXT_ROWS], 0 is free
    used_ms: Array  # i8 [CONTEXT_ROWS]
    item: Array  # i4 [CONTEXT_ROWS, CONTEXT_SLOTS]
    count: Array  # type: ignore[assignment]  # f4 [CONTEXT_ROWS, CONTEXT_SLOTS]; hides tuple.count, which nobody calls
    total: Array  # f4 [CONTEXT_ROWS]
    at_ms: Array  # f8 [CONTEXT_ROWS]


class MixingArrays(NamedTuple):
    """How the experts are put together. Of weights, row 0 is shared, the others are what a situation adds to it."""

    trust: Array  # f8 [SEGMENTS, SHARES] of each share in a situation, they sum to one
    weight: Array  # f8 [1 + SEGMENTS, FEATURES] less FIRST_WEIGHTS
    gradient: Array  # f8 [1 + SEGMENTS, FEATURES]
    kin: Array  # f8 [1 + SEGMENTS, 1] weight of kinship, less FIRST_KIN
    kin_gradient: Array  # f8 [1 + SEGMENTS, 1]
    clock: Array  # i8 [3]: event time of the newest learned event, events learned, rows of items up to the highest
    response: Array  # f8 [3] mean reward of a shown item, decayed: the mean, impressions, rewards
    inner: Array  # f4 [FEATURES + SEGMENTS, UNITS] of the rescorer, less where they started; a situation is an input
    inner_gradient: Array  # f4 [FEATURES + SEGMENTS, UNITS]
    outer: Array  # f4 [UNITS]
    outer_gradient: Array  # f4 [UNITS]
    total: Array  # f8 [POPULARITIES] sums of the heats
    origin_ms: Array  # f8 [POPULARITIES] the time at which a take weighs 1 in them
    top: Array  # i4 [POPULARITIES, TOP] most popular items, best first
    newest: Array  # i4 [NEWEST] a ring of the items that came last
    came: Array  # i8 [1] how many ever came


class KindArrays(NamedTuple):
    """Per kind of items: how often it is taken."""

    key: Array  # u8 [KINDS_MAX]
    taken: Array  # f8 [KINDS_MAX]
    known: Array  # i8 [1] rows in use
    counted: Array  # f8 [1] takes of all items


class CellArrays(NamedTuple):
    """The trained vectors in groups, see `online.recommendation.cells`."""

    centre: Array  # f4 [cells, DIMENSION]
    start: Array  # i4 [cells + 1] into row
    row: Array  # i4 [trained items]


class Scratch(NamedTuple):
    """Room to work in; no part of the state."""

    mark: Array  # i4 [items] place among the touched, -1
    stamp: Array  # i8 [items] of the last comparison that looked at the item
    seen: Array  # i8 [items] of the last ranking that listed the item
    stamps: Array  # i8 [1] comparisons and rankings
    order: Array  # i4 [CANDIDATES_MAX]
    touched: Array  # i4 [TOUCHED_MAX]
    held: Array  # i4 [TOUCHED_MAX] which memories give something, a bit for each
    share: Array  # f4 [TOUCHED_MAX, SPARSE] what those give
    lanes: Array  # f4 [16]
    query_code: Array  # i1 [1, DIMENSION]
    query_step: Array  # f4 [1]
    sparse: Array  # f4 [TOUCHED_MAX] the memories' part of the mixture
    popular: Array  # f4 [POPULARITIES] what a heat of 1 adds to the mixture
    weight: Array  # f4 [FEATURES] in the present situation
    trust: Array  # f4 [SHARES] likewise
    kin: Array  # f4 [1] weight of kinship, likewise
    kinship: Array  # f4 [KINDS_MAX] of the user
    inner: Array  # f4 [FEATURES, UNITS] the rescorer as it stands
    start: Array  # f4 [UNITS] what the present situation gives its units
    outer: Array  # f4 [UNITS]
    units: Array  # f4 [UNITS, WIDTH]
    inner_step: Array  # f4 [FEATURES, UNITS] the gradient
    context_rows: Array  # i4 [CONTEXT_PLACES]
    used: Array  # i8 [1] touched items
    backbone: Array  # f4
    listed: Array  # i4 [LISTED_MAX]
    found: Array  # i4 [FOUND_MAX]
    value: Array  # f4 [FOUND_MAX] what those, or the listed, are worth at first sight
    keys: Array  # u8 [LISTED_MAX + CANDIDATES_MAX], see `online.recommendation.ranking`
    near: Array  # f4 [CELLS_MAX]
    nearest: Array  # i4 [CELLS_MAX]
    candidate: Array  # i4 [CANDIDATES_MAX]
    candidate_share: Array  # f4 [SHARES, WIDTH]
    candidate_feature: Array  # f4 [FEATURES, WIDTH]
    candidate_mixture: Array  # f4 [WIDTH]
    candidate_kinship: Array  # f4 [WIDTH]
    candidate_score: Array  # f8 [CANDIDATES_MAX]


class Learners(NamedTuple):
    """Everything that the recommender's kernels read and write."""

    knobs: Knobs
    backbone: Backbone
    users: UserArrays
    items: ItemArrays
    contexts: ContextArrays
    mixing: MixingArrays
    kinds: KindArrays
    cells: CellArrays
    scratch: Scratch


CANDIDATES_MAX = 256  # scored exactly: compared with one taken item, or the best for a slate
WIDTH = CANDIDATES_MAX + 16  # of arrays with a column for each of them: no power of two, which caches take badly

# What descriptions say, and not what is learned: it may change while learning is frozen.
DESCRIBED = frozenset({"items.kind", "kinds.key", "kinds_known.known"})

LEARNER_COLUMNS: tuple[Column, ...] = (
    Column(name="users.hidden", dtype="f4", shape=(HIDDEN,)),
    Column(name="users.query", dtype="f4", shape=(DIMENSION,), served=True),
    Column(name="users.ring", dtype="i4", shape=(RING,), fill=-1, refers="items", served=True),
    Column(name="users.ring_at_ms", dtype="i8", shape=(RING,), served=True),
    Column(name="users.taken", dtype="i8", served=True),
    Column(name="items.vector", dtype="f4", shape=(DIMENSION,), served=True),
    Column(name="items.code", dtype="i1", shape=(DIMENSION,), derived=True, served=True),
    Column(name="items.code_step", dtype="f4", derived=True, served=True),
    Column(name="items.anchor", dtype="f4", shape=(DIMENSION,)),
    Column(name="items.gradient", dtype="f4"),
    Column(name="items.bias", dtype="f4", served=True),
    Column(name="items.trained", dtype="u1"),
    Column(name="items.taken", dtype="f4", served=True),
    Column(name="items.shown", dtype="f4"),
    Column(name="items.reward", dtype="f4"),
    Column(name="items.response", dtype="f4", served=True),
    Column(name="items.since_ms", dtype="f8", served=True),
    Column(name="items.heat", dtype="f4", shape=(POPULARITIES,), served=True),
    Column(name="items.fast_item", dtype="i4", shape=(NEXT_SLOTS,), fill=-1, refers="items", served=True),
    Column(name="items.fast_count", dtype="f4", shape=(NEXT_SLOTS,), served=True),
    Column(name="items.fast_total", dtype="f4", served=True),
    Column(name="items.fast_at_ms", dtype="f8", served=True),
    Column(name="items.slow_item", dtype="i4", shape=(NEXT_SLOTS,), fill=-1, refers="items", served=True),
    Column(name="items.slow_count", dtype="f4", shape=(NEXT_SLOTS,), served=True),
    Column(name="items.slow_total", dtype="f4", served=True),
    Column(name="items.slow_at_ms", dtype="f8", served=True),
    Column(name="items.kind", dtype="i4", shape=(KINDS,), fill=-1, served=True),
    Column(name="items.around_item", dtype="i4", shape=(AROUND_SLOTS,), fill=-1, refers="items", served=True),
    Column(name="items.around_count", dtype="f4", shape=(AROUND_SLOTS,), served=True),
    Column(name="items.around_total", dtype="f4", served=True),
    Column(name="items.around_at_ms", dtype="f8", served=True),
    Column(name="contexts.key", dtype="u8", served=True),
    Column(name="contexts.used_ms", dtype="i8"),
    Column(name="contexts.item", dtype="i4", shape=(CONTEXT_SLOTS,), fill=-1, refers="items", served=True),
    Column(name="contexts.count", dtype="f4", shape=(CONTEXT_SLOTS,), served=True),
    Column(name="contexts.total", dtype="f4", served=True),
    Column(name="contexts.at_ms", dtype="f8", served=True),
    Column(name="mixture.trust", dtype="f8", shape=(SHARES,), fill=1.0 / SHARES, served=True),
    Column(name="mixing.weight", dtype="f8", shape=(FEATURES,), served=True),
    Column(name="mixing.gradient", dtype="f8", shape=(FEATURES,)),
    Column(name="mixing.kin", dtype="f8", shape=(1,), served=True),
    Column(name="mixing.kin_gradient", dtype="f8", shape=(1,)),
    Column(name="kinds.key", dtype="u8"),
    Column(name="kinds.taken", dtype="f8", served=True),
    Column(name="kinds_known.known", dtype="i8", served=True),
    Column(name="kinds_counted.counted", dtype="f8", served=True),
    Column(name="rescorer.inner", dtype="f4", shape=(UNITS,), served=True),
    Column(name="rescorer.inner_gradient", dtype="f4", shape=(UNITS,)),
    Column(name="rescorer_units.outer", dtype="f4", served=True),
    Column(name="rescorer_units.outer_gradient", dtype="f4"),
    Column(name="mixing_response.response", dtype="f8", served=True),
    Column(name="mixing_clock.clock", dtype="i8", served=True),
    # The backbone's weights, flat: part of the artifact, so neither in the digest nor in a snapshot.
    Column(name="backbone.weights", dtype="f4", derived=True),
    Column(name="backbone_shape.shape", dtype="i8", derived=True),
    Column(name="popularity.total", dtype="f8", served=True),
    Column(name="popularity.origin_ms", dtype="f8"),
    Column(name="newest.row", dtype="i4", fill=-1, refers="items", served=True),
    Column(name="newest_count.count", dtype="i8"),
    # Out of the artifact's vectors, by its size.
    Column(name="cells.centre", dtype="f4", shape=(DIMENSION,), derived=True, served=True),
    Column(name="cells_start.start", dtype="i4", derived=True, served=True),
    Column(name="cells_rows.row", dtype="i4", derived=True, served=True),
    Column(name="popularity.top", dtype="i4", shape=(TOP,), fill=-1, refers="items", served=True),
)


def learner_capacity(settings: Settings) -> dict[str, int]:
    """Rows of the learners' fixed tables."""
    return {
        "contexts": CONTEXT_ROWS,
        "mixture": SEGMENTS,
        "mixing": 1 + SEGMENTS,
        "rescorer": FEATURES + SEGMENTS,
        "rescorer_units": UNITS,
        "kinds": KINDS_MAX,
        "kinds_known": 1,
        "kinds_counted": 1,
        "mixing_clock": 3,
        "mixing_response": 3,
        "popularity": POPULARITIES,
        "newest": NEWEST,
        "newest_count": 1,
        "cells": 1,
        "cells_start": 2,
        "cells_rows": 0,
        "backbone": BACKBONE_FLOATS,
        "backbone_shape": 5,
    }
