"""What goes in and out of the calls about the past: rollbacks, acts that change it, snapshots, reproductions."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from api.schemas import REASON_MAX, Id, Time
from online.records import ID_LENGTH_MAX
from online.reproduction import Difference

CUT_MAX = 1_000
_Ids = Annotated[list[Id], Meta(max_length=CUT_MAX)]
_Position = Annotated[int, Meta(ge=1)]


class Target(Struct, forbid_unknown_fields=True):
    """Where to go back to: one of a snapshot's id, a log position, a time."""

    snapshot: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    position: _Position | None = None
    time: Time | None = None


class Span(Struct, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Log positions, both inclusive."""

    from_: _Position
    until: _Position


class Without(Struct, forbid_unknown_fields=True):
    """Whose records to leave out. What is named by any of these is."""

    users: _Ids = msgspec.field(default_factory=list)
    clients: _Ids = msgspec.field(default_factory=list)
    events: _Ids = msgspec.field(default_factory=list)
    positions: Annotated[list[_Position], Meta(max_length=CUT_MAX)] | Span = msgspec.field(default_factory=list)


class RollbackRequest(Struct, forbid_unknown_fields=True):
    """Go back to a place; or, with `without`, live on without some of the records after it (of all, where it is none).

    `expected_position`: the newest act that the sender knows of (`GET /v1/acts`); another one since then refuses this.
    """

    to: Target | None = None
    without: Without | None = None
    dry_run: bool = False
    reason: Annotated[str, Meta(min_length=1, max_length=REASON_MAX)] | None = None
    author: Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX)] | None = None
    expected_position: Annotated[int, Meta(ge=0)] | None = None


class Top(Struct, frozen=True):
    """The best items for somebody unknown, before and after."""

    before: list[str]
    after: list[str]


class ChangeReply(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """What an act on the past did, or would do. Rolling back to `from` undoes it.

    `to` is the last position that both pasts share; `changed_decisions` of the `compared_decisions` after it would have
    come out otherwise. `digest` is that of the state after the act.
    """

    act: str
    act_id: str
    from_: int
    to: int
    position: int | None  # of the act in the log; null for a dry run
    removed: int
    restored: int
    changed_decisions: int
    compared_decisions: int
    digest: str
    top: Top | None
    dry_run: bool


class ReproduceReply(Struct, frozen=True, kw_only=True):
    """A decision, decided again from the state of its moment: identical where every byte of its record is.

    `promised` is false where records that it rested on have been erased since; `why` explains a difference.
    """

    decision_id: str
    identical: bool
    digest: str
    expected_digest: str
    differences: list[Difference]
    promised: bool
    why: str
    position: int
    log_position: int
    snapshot: str


class SnapshotReply(Struct, frozen=True, kw_only=True):
    """A snapshot: a state at a place in the log."""

    id: str
    position: int
    state_digest: str
    root: str
    artifact: str
    base: str
    parent: str
    depth: int
    bytes: int
    label: str
    reason: str
    planned: bool
    created_at: str
    environment: dict[str, str]
    counters: dict[str, int]


class SnapshotsReply(Struct, frozen=True):
    """The snapshots, the newest last; `broken` says of those that are not what was written what is wrong with them."""

    snapshots: list[SnapshotReply]
    broken: list[str]


class SnapshotRequest(Struct, forbid_unknown_fields=True):
    """Take a snapshot. One with a label is never removed by the service."""

    label: Annotated[str, Meta(max_length=200)] = ""


class ActEntry(Struct, frozen=True):
    """An act as it stands in the log. `void`: overtaken by another, sent again, or not to be carried out."""

    position: int
    act: str
    reason: str
    author: str
    received_at: str
    act_id: str
    arguments: dict[str, Any]
    void: bool


class ActsReply(Struct, frozen=True):
    """Every act of the log, the newest last."""

    acts: list[ActEntry]
