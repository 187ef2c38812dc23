"""The protocol of a replay: where the stream begins, what is ranked before what is learned, and in which slices.

Events of one user at one timestamp are ranked together, before any of them is learned (`ties="together"`), or one
after the other as the file has them (`ties="file-order"`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from online.interactions import Interactions

Ties = Literal["together", "file-order"]


class NothingToReplay(ValueError):
    """A split that leaves no batch or no stream."""


def stream_start(source: Interactions, *, pretrain_share: float, stream_from_ms: int | None) -> int:
    """The first row of the stream. A share never cuts a timestamp in two. Raises NothingToReplay."""
    if stream_from_ms is not None:
        first = int(np.searchsorted(source.at_ms, stream_from_ms, side="left"))
    else:
        cut = min(max(int(len(source) * pretrain_share), 0), len(source) - 1)
        first = int(np.searchsorted(source.at_ms, source.at_ms[cut], side="left"))
    if not 0 < first < len(source):
        raise NothingToReplay(
            f"{first} events before and {len(source) - first} after the split: both sides need some. "
            "Give another pretrain share or time."
        )
    return first


def in_groups(source: Interactions, first: int) -> Interactions:
    """The same interactions, events of one user at one timestamp of the stream side by side; else in the file's order.

    Users keep the order in which they first appear at that timestamp, and each user's events their own.
    """
    n = len(source)
    at, user = source.at_ms, source.user
    stamp = np.cumsum(np.r_[True, at[1:] != at[:-1]]) if n else np.zeros(0, np.int64)
    _, group = np.unique(stamp * (int(user.max()) + 1) + user, return_inverse=True)
    earliest = np.full(int(group.max()) + 1, n, np.int64)
    np.minimum.at(earliest, group, np.arange(n))
    order = np.lexsort((np.arange(n), earliest[group], stamp))
    order[:first] = np.arange(first)
    return replace(
        source,
        user=user[order],
        item=source.item[order],
        at_ms=at[order],
        value=source.value[order],
        event_type=source.event_type[order],
        session=None if source.session is None else source.session[order],
        context={name: codes[order] for name, codes in source.context.items()},
    )


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is ranked, and against what."""

    group_end: np.ndarray  # i8 [n] row after the last one that is ranked before this one is learned
    scored: np.ndarray  # bool [n]
    include_seen: bool
    first: int
    items: int  # distinct in the file

    @classmethod
    def of(cls, source: Interactions, first: int, *, score_every: int, together: bool, seen: bool) -> Protocol:
        """The protocol for these interactions, in groups already."""
        n = len(source)
        scored = np.zeros(n, np.bool_)
        scored[first::score_every] = True
        end = np.arange(1, n + 1)
        if together:
            same = (source.at_ms[1:] == source.at_ms[:-1]) & (source.user[1:] == source.user[:-1])
            if first:
                same[first - 1] = False
            for row in range(n - 2, -1, -1):
                if same[row]:
                    end[row] = end[row + 1]
        return cls(end, scored, seen, first, len(source.item_ids))


def slices(source: Interactions, first: int) -> dict[str, np.ndarray]:
    """Users and items that the batch part knew, and those it did not. bool [stream] each"""
    known_user = np.zeros(len(source.user_ids), np.bool_)
    known_user[source.user[:first]] = True
    known_item = np.zeros(len(source.item_ids), np.bool_)
    known_item[source.item[:first]] = True
    user, item = known_user[source.user[first:]], known_item[source.item[first:]]
    return {"returning_users": user, "new_users": ~user, "known_items": item, "new_items": ~item}
