"""Each peer's settings are chosen on the stretch before the stream begins: the last tenth of the batch part.

One setting after the other, from where the literature puts it: the value with the best HR@10 stays. The stretch and
what is learned before it are bounded (ROWS, LEARNED, RANKED), so that tuning costs no more than the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers.stream import Peer, Size, Stream, hits, shifted, walk
from online.interactions import Interactions
from simulations.protocol import Ties

ROWS = 50_000  # of the stretch
LEARNED = 200_000  # rows before it
RANKED = 2_000  # events of it


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a peer is made, and which values of its settings are tried."""

    name: str
    make: Callable[..., Peer]
    start: Mapping[str, Any] = field(default_factory=dict)
    tried: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    after: str = ""  # the recipe whose chosen settings it starts from
    rounds: int = 1  # how often all settings are gone through
    at_most: int = 0  # events ranked in the run
    learned: int = 0  # rows of the batch part learned before the run, the newest; 0 is all
    slow: bool = False  # tuned on a tenth of what others are

    def peer(self, size: Size, **settings: Any) -> Peer:
        return self.make(size, **{**self.start, **settings})


def tuned(
    recipe: Recipe, source: Interactions, first: int, *, ties: Ties, after: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[Any]]:
    """-> the settings chosen, and what was tried: (settings, HR@10); after: settings that another recipe chose"""
    chosen: dict[str, Any] = {**(after or {}), **recipe.start}
    if not recipe.tried:
        return chosen, []
    bound = 10 if recipe.slow else 1
    rows = min(first // 10, ROWS // bound)
    start = max(0, first - rows - LEARNED // bound)
    stretch = shifted(source, start, first)
    cut = first - rows - start
    ranked = RANKED // bound if not recipe.at_most else min(RANKED // bound, recipe.at_most // 4)
    stream = Stream(stretch, cut, score_every=max(1, rows // ranked), ties=ties)
    stream.size = Size(len(source.user_ids), len(source.item_ids))
    tries: list[Any] = []
    known: dict[str, float] = {}

    def found(settings: dict[str, Any]) -> float:
        key = repr(sorted(settings.items()))
        if key not in known:
            ranks = walk(recipe.peer(stream.size, **settings), stream, at_most=ranked).ranked.rank
            known[key] = float(hits(ranks[ranks >= 0]).mean())
            tries.append((dict(settings), round(known[key], 4)))
        return known[key]

    best = found(chosen)
    for name, values in [*recipe.tried.items()] * recipe.rounds:
        for value in values:
            candidate = {**chosen, name: value}
            here = found(candidate)
            if here > best:
                chosen, best = candidate, here
    return chosen, tries
