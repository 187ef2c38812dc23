"""Feeding: a file's interactions through the fold, as columns, without a record object for each of them.

What the log would have brought one by one comes here as arrays, into the same kernel: `warm_up` passes over a batch's
interactions so that an artifact holds learners that know their catalogue, and replays feed the stream this way.
"""

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from online.artifact import Artifact
from online.batch import EVENT, LENGTH, BatchBuilder
from online.chance import hash64
from online.fold import Fold
from online.interactions import Interactions
from online.recommendation.arrays import warm_tensors
from online.recommendation.kinds import Features, describe_kinds
from online.recommendation.settings import Settings as RecommendationSettings
from online.settings import CONTEXT_FEATURES_MAX, EventRule, Settings
from online.state import State
from online.tables import Array

Report = Callable[[int, int], None]  # done, of
USERS_KEPT_MAX = 100_000  # of the past, those seen last: more make an artifact heavy to carry


def import_settings(interactions: Interactions, recommendation: RecommendationSettings, *, seed: int = 0) -> Settings:
    """Settings under which every row of a file counts as a take: a file is nobody's attack, and it is whole."""
    return Settings(
        seed=seed,
        events={name: EventRule(taken=1.0) for name in interactions.event_types},
        user_budget_per_hour=1e9,
        users_max=max(16, len(interactions.user_ids)),
        items_max=1 << 22,
        event_ids_max=16,
        recommendation=recommendation,
    )


class Feed:
    """Interactions as the keys and numbers that the fold works with, under these settings."""

    def __init__(self, interactions: Interactions, settings: Settings) -> None:
        self.interactions = interactions
        types = {name: number for number, name in enumerate(settings.events)}
        self.type_number = np.array([types.get(name, -1) for name in interactions.event_types], np.int64)
        self.user_key = np.array([hash64(one) for one in interactions.user_ids], np.uint64)
        self.item_key = np.array([hash64(one) for one in interactions.item_ids], np.uint64)
        self.context = np.zeros((len(interactions), CONTEXT_FEATURES_MAX), np.uint64)
        for k, name in enumerate(sorted(interactions.context)[:CONTEXT_FEATURES_MAX]):
            # What is missing ("") has no key: nothing is known.
            keys = np.array(
                [hash64(f"{name}={one}") if one else 0 for one in interactions.context_values[name]], np.uint64
            )
            self.context[:, k] = keys[interactions.context[name]]

    def fill(self, builder: BatchBuilder, first: int, last: int, position: int) -> None:
        """Put rows first … last - 1, at most LENGTH of them, into an empty batch; the first stands at `position`."""
        batch, source, rows, n = builder.batch, self.interactions, slice(first, last), last - first
        positions = np.arange(position, position + n)
        batch.kind[:n] = EVENT
        batch.position[:n] = positions
        batch.at_ms[:n] = source.at_ms[rows]
        batch.key[:n] = positions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # odd: no two are equal
        batch.user[:n] = self.user_key[source.user[rows]]
        batch.item[:n] = self.item_key[source.item[rows]]
        batch.decision[:n] = 0
        batch.event_type[:n] = self.type_number[source.event_type[rows]]
        batch.value[:n] = source.value[rows]
        batch.context[:n] = self.context[rows]
        batch.first_slot[: n + 1] = 0
        for code in np.unique(source.item[rows]).tolist():
            builder.ids[int(self.item_key[code])] = source.item_ids[code]
        builder.length = n


def fold_interactions(fold: Fold, feed: Feed, first: int, last: int, *, report: Report | None = None) -> None:
    """Fold rows first … last - 1, in order."""
    for start in range(first, last, LENGTH):
        end = min(start + LENGTH, last)
        fold.columns(lambda builder, position, a=start, b=end: feed.fill(builder, a, b, position))  # type: ignore[misc]
        if report is not None:
            report(end - first, last - first)


def warm_up(
    artifact: Artifact, interactions: Interactions, catalogue: Mapping[str, Features] | None = None
) -> Mapping[str, Array]:
    """The learners' state after one pass over the batch's interactions, as tensors for the artifact: `learners.*`.

    catalogue: features of items by id, which say of what kind an item is.

    The backbone was trained on these very events, so its taste takes no part in learning the mixing weights here.
    What counts as a take is what counts live; a type of event that the service does not know counts as one. Of the
    users, the last USERS_KEPT_MAX are kept, so that they are known from the first moment.
    The artifact's items keep the rows that they have there; items beyond them would have no vector, and are refused.
    Raises ValueError where an interaction names an item that the artifact does not hold.
    """
    plain = import_settings(interactions, RecommendationSettings(mixes_taste=False))
    settings = msgspec.structs.replace(plain, events={**plain.events, **Settings().events})
    state = State(settings, artifact, known_users=False)
    known = state.count("items")
    learners = state.views.learners
    for item_id, features in (catalogue or {}).items():
        describe_kinds(learners.kinds, learners.items, state.item_row(hash64(item_id)), features)
    fold_interactions(Fold(state), Feed(interactions, settings), 0, len(interactions))
    if state.count("items") != known:
        raise ValueError(f"{state.count('items') - known} items of the interactions are not in artifact {artifact.id}")
    return warm_tensors(state, users_max=USERS_KEPT_MAX)
