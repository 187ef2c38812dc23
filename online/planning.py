"""What an act on the past would do, found out before it is done; and the state that it needs, made beside the service.

A plan folds the lineage that the act would begin, up to the log's end, and keeps it as a planned snapshot: when the
learner then reads the act, little is left to fold. It changes nothing that is served, and is refused for whatever could
not be carried out.
"""

from collections import deque
from pathlib import Path

import msgspec
import numpy as np

from online.again import Again, Decided
from online.artifact import ArtifactCorrupt, ArtifactMissing
from online.frame import COUNTERS
from online.history import History, Place, Progress
from online.lineage import Arguments, Lineage
from online.recommendation.decide import Decider, Request
from online.records import Act
from online.snapshot import Snapshot, write_snapshot
from online.state import COLUMN_BY_NAME, State
from online.tables import Array
from online.views import bind, read_only

COMPARED_MAX = 20_000  # decisions decided again; of more than these, the newest
TOP = 10


class PlanRefused(ValueError):
    """An act that cannot be carried out; the message says why, and what could be."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What would change. Positions are the log's; a digest is that of the state after the act, as the log is now."""

    act: str
    arguments: Arguments  # as they have to stand in the log
    head: int  # the log's end when this was planned
    to: int  # both lineages are the same up to here
    removed: int  # records of the present state that the other one is made without
    restored: int  # the other way round: records that come back
    changed_decisions: int  # of those compared, how many the other state would have made otherwise
    compared_decisions: int
    digest: str
    top_before: list[str]  # the best items for somebody unknown
    top_after: list[str]
    snapshot: str  # planned; "" for a dry run


def planned(
    history: History,
    name: str,
    arguments: Arguments,
    *,
    dry_run: bool,
    snapshots: Path | None = None,
    progress: Progress | None = None,
) -> Plan:
    """What the act would do at the log's end. Raises PlanRefused."""
    head = history.reader.head()
    history.scan(head)
    if arguments.to is not None and not 0 < arguments.to <= head:
        raise PlanRefused(f"there is no position {arguments.to}: the log goes from 1 to {head}")
    arguments = _narrowed(history, head, name, arguments)
    after = history.lineages.planned(head + 1, Act(name, "", 0, arguments=written(arguments)))
    if after is None:
        raise PlanRefused(_nothing_to_do(name))
    present = history.lineages.at(head)
    shared = parting(present, after)
    kept = _positions(history, after, shared)
    lost, stayed, compared = _held_against(history, present, kept, shared, cut=bool(arguments.without))
    try:
        place, changed = _decide_again(history, after, shared, compared, progress)
        before = history.state_at(head, progress=progress)
    except (ArtifactMissing, ArtifactCorrupt, ValueError) as error:
        raise PlanRefused(f"it cannot be carried out: {error}") from error
    place.state.views.frame.position[0] = after.last
    snapshot = None if dry_run or snapshots is None else _keep(history, snapshots, place, name)
    return Plan(
        act=name,
        arguments=msgspec.structs.replace(arguments, expected=history.lineages.newest_act),
        head=head,
        to=shared,
        removed=lost,
        restored=len(kept) - stayed,
        changed_decisions=changed,
        compared_decisions=len(compared),
        digest=place.state.digest(),
        top_before=top_items(before.state),
        top_after=top_items(place.state),
        snapshot=snapshot.id if snapshot else "",
    )


def written(arguments: Arguments) -> str:
    """As they stand in the log: canonical JSON."""
    return msgspec.json.encode(arguments, order="sorted").decode()


def parting(one: Lineage, other: Lineage) -> int:
    """The last position up to which two lineages are the same."""
    if not one.on_artifacts_of(other):
        return 0
    shared = 0
    for mine, its in zip(one.segments, other.segments, strict=False):
        if (mine.first, mine.without) != (its.first, its.without):
            break
        shared = min(mine.last, its.last)
        if mine.last != its.last:
            break
    return shared


def top_items(state: State, n: int = TOP) -> list[str]:
    """What somebody unknown would be shown at the state's own time, without exploration."""
    settings = msgspec.structs.replace(state.settings, exploration=0.0)
    at_ms = int(state.views.frame.watermark_ms[0])
    slate = Decider(settings).decide(
        bind(read_only(state.arrays, COLUMN_BY_NAME), settings), None, Request("", "", n, at_ms)
    )
    return [state.item_id(row) for row in slate.rows]


def _narrowed(history: History, head: int, name: str, arguments: Arguments) -> Arguments:
    """A cut begins at the first record that it removes, so that the nearest snapshot before that one will do.

    Raises PlanRefused where it removes nothing."""
    if not arguments.without:
        if name == "erase" or (name == "rollback" and arguments.to is None):
            raise PlanRefused("it says neither where to go back to nor what to leave out")
        return arguments
    # What is to be forgotten is looked for everywhere, also in what the present state is not made of any more.
    present = Lineage("").grown(1, head) if name == "erase" else history.lineages.at(head)
    after = max(0, arguments.to or 0)
    cut = present.cut(arguments.without, after=after)
    kept: set[int] = set()
    for records, _ in history.records(cut.beyond(after)):
        kept.update(position for position, _ in records)
    for records, _ in history.records(present.beyond(after)):
        for position, _ in records:
            if position not in kept:
                return msgspec.structs.replace(arguments, to=max(1, position - 1))
    raise PlanRefused(
        f"nothing would be removed: it names none of the records {after + 1} to {head} that the state is made of"
    )


def _nothing_to_do(name: str) -> str:
    if name == "resume":
        return "learning is not frozen: there is nothing to learn from meanwhile"
    return "an act like this changes nothing here"


def _positions(history: History, lineage: Lineage, after: int) -> Array:
    """Where the records of a lineage stand that lie behind a position, acts aside; ascending."""
    found = [
        np.array([position for position, record in records if not isinstance(record, Act)], np.int64)
        for records, _ in history.records(lineage.beyond(after))
    ]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _held_against(
    history: History, present: Lineage, kept: Array, shared: int, *, cut: bool
) -> tuple[int, int, list[Decided]]:
    """How many of the present records are lost, how many stay, and the decisions that rested on what changes, by the
    position that they read; those that a cut removes are left out."""
    lost = stayed = 0
    decisions: deque[Decided] = deque(maxlen=COMPARED_MAX)
    for records, _ in history.records(present.beyond(shared)):
        own = [(position, record) for position, record in records if not isinstance(record, Act)]
        stays = np.isin(np.array([position for position, _ in own], np.int64), kept, assume_unique=True)
        stayed += int(stays.sum())
        lost += len(own) - int(stays.sum())
        for (_, record), remains in zip(own, stays.tolist(), strict=True):
            if isinstance(record, Decided) and record.read_position > shared and (remains or not cut):
                decisions.append(record)
    return lost, stayed, sorted(decisions, key=lambda decision: decision.read_position)


def _decide_again(
    history: History, after: Lineage, shared: int, decisions: list[Decided], progress: Progress | None
) -> tuple[Place, int]:
    """The state of a lineage at its end, and how many decisions come out otherwise on the way to it."""
    place = history.build(after.until(shared), progress=progress) if shared else history.build(after.until(0))
    again = Again(history.settings, history.artifacts)
    changed = 0
    for decision in decisions:
        place = history.advanced(place, after.until(decision.read_position))
        changed += not again.same(place.state, decision)
    return history.advanced(place, after, progress=progress), changed


def _keep(history: History, folder: Path, place: Place, name: str) -> Snapshot:
    counters = {name: int(n) for name, n in zip(COUNTERS, place.state.views.frame.counters, strict=True)}
    return write_snapshot(
        folder,
        place.state,
        entry=b"",
        reason=f"for the act {name}",
        counters=counters,
        lineage=place.lineage,
        acts=history.lineages.acts,
        planned=True,
    )
