"""Interactions of the past through the fold: the same kernel that serves, fed with columns instead of records.

An artifact's warm state is made this way, and so is every replay.
"""

from collections.abc import Callable, Mapping

import numpy as np

from online.artifact import Artifact
from online.batch import EVENT, LENGTH, BatchBuilder
from online.chance import hash64
from online.fold import Fold
from online.interactions import Interactions
from online.recommendation.arrays import warm_tensors
from online.settings import CONTEXT_FEATURES_MAX, Settings
from online.state import State
from online.tables import Array

USERS_KEPT_MAX = 100_000  # of the past, those seen last: more make an artifact heavy to carry


class History:
    """Interactions with their keys made ready, so that filling a batch is copying columns."""

    def __init__(self, interactions: Interactions, settings: Settings) -> None:
        self.interactions = interactions
        self.user_keys = _keys(interactions.user_ids)
        self.item_keys = _keys(interactions.item_ids)
        types = {name: number for number, name in enumerate(settings.events)}
        self.type_numbers = np.array([types.get(name, -1) for name in interactions.event_types], np.int64)
        names = sorted(interactions.context)[:CONTEXT_FEATURES_MAX]
        # An empty value says that nothing was known.
        self.contexts = [
            (
                interactions.context[name],
                np.array([hash64(f"{name}={v}") if v else 0 for v in interactions.context_values[name]], np.uint64),
            )
            for name in names
        ]

    def fill(self, builder: BatchBuilder, rows: Array, position: int) -> None:
        """Append the interactions in `rows` (at most LENGTH less what is there), from `position` on."""
        batch, first = builder.batch, builder.length
        last = first + len(rows)
        taken, interactions = slice(first, last), self.interactions
        positions = np.arange(position, position + len(rows))
        batch.kind[taken] = EVENT
        batch.position[taken] = positions
        batch.key[taken] = positions  # of the event: every interaction is one of its own
        batch.at_ms[taken] = interactions.at_ms[rows]
        batch.user[taken] = self.user_keys[interactions.user[rows]]
        batch.item[taken] = self.item_keys[interactions.item[rows]]
        batch.decision[taken] = 0
        batch.event_type[taken] = self.type_numbers[interactions.event_type[rows]]
        batch.value[taken] = interactions.value[rows]
        self.fill_context(batch.context[taken], rows)
        batch.first_slot[first + 1 : last + 1] = batch.first_slot[first]
        ids = interactions.item_ids
        builder.ids.update((int(self.item_keys[item]), ids[item]) for item in interactions.item[rows].tolist())
        builder.length = last

    def fill_context(self, target: Array, rows: Array) -> None:
        """target: [rows, CONTEXT_FEATURES_MAX], the contexts' keys; known values first, as `context_keys` packs them."""
        target[:] = 0
        used = np.zeros(len(rows), np.int64)
        for codes, keys in self.contexts:
            found = keys[codes[rows]]
            known = np.flatnonzero(found)
            target[known, used[known]] = found[known]
            used[known] += 1


def _keys(ids: list[str]) -> Array:
    return np.array([hash64(one) for one in ids], np.uint64)


def fold_history(
    fold: Fold, history: History, rows: Array, *, progress: Callable[[int], None] | None = None
) -> None:
    """Fold the interactions in `rows`, in that order, after what the state has folded."""
    for first in range(0, len(rows), LENGTH):
        part = rows[first : first + LENGTH]
        fold.columns(lambda builder, position, part=part: history.fill(builder, part, position))
        if progress:
            progress(first + len(part))


def warm_up(artifact: Artifact, interactions: Interactions, settings: Settings | None = None) -> Mapping[str, Array]:
    """What the live learners make of the batch job's own interactions: tensors that join its artifact.

    So "frozen" is a whole model as it stood at the end of the batch, and known users are known from the first moment.
    """
    chosen = settings or Settings()
    state = State(chosen, artifact)
    rows = np.arange(len(interactions))
    fold_history(Fold(state), History(interactions, chosen), rows)
    return warm_tensors(state, users_max=USERS_KEPT_MAX)
