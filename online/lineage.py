"""Which records a state is the fold of: the log up to a position, but for what operators' acts took out of it.

A lineage is a list of stretches of the log, each with the cuts that apply to it. `state(p)` is the fold of the lineage
at p, and that lineage is a function of the acts in the log up to p; so with acts on the past, too, a state is a pure
function of artifact and log. Nothing is lost by an act: what it takes out stays in the log, and the lineage of every
position before it stays what it was. Only `erase` takes records out of the log itself.

    rollback to q            the lineage at q
    rollback to q without …  the present one, but for the records after q that the cut names
    resume, meanwhile learn  the present one, as if the freeze had not been
    promote an artifact      the present one, folded on the other artifact: recommendation's, or pricing's
    erase a user             the present one without the user
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from online.chance import hash64
from online.records import Act, Begin, Erased, Record


class Cut(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is taken out: the records of these users (by key, 16 hex digits), clients, event ids, positions."""

    users: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    positions: tuple[tuple[int, int], ...] = ()  # first and last, both inclusive

    def __bool__(self) -> bool:
        return bool(self.users or self.clients or self.events or self.positions)


class Arguments(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of an act on the past, as they stand in the log. `expected`: the position of the newest act that its author
    knew of; where another came in between, the act is void (compare and swap)."""

    to: int | None = None
    without: Cut = Cut()
    artifact: str | None = None
    pricing_artifact: str | None = None
    meanwhile: str = ""  # of a resume: "learn"
    expected: int | None = None


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """Positions first … last of the log, without what the cuts name."""

    first: int
    last: int
    without: tuple[Cut, ...] = ()


class Lineage(msgspec.Struct, frozen=True):
    """Artifacts and the records folded on them, ascending."""

    artifact_id: str = ""
    segments: tuple[Segment, ...] = ()
    pricing_id: str = ""  # of a promoted artifact of pricing's; "" is the one that the log began from

    @property
    def last(self) -> int:
        """The last position that belongs to it; 0 for an empty one."""
        return self.segments[-1].last if self.segments else 0

    def _of(self, segments: tuple[Segment, ...]) -> "Lineage":
        return msgspec.structs.replace(self, segments=segments)

    def until(self, position: int) -> "Lineage":
        """Its records up to a position."""
        kept = tuple(Segment(s.first, min(s.last, position), s.without) for s in self.segments if s.first <= position)
        return self._of(kept)

    def grown(self, first: int, last: int) -> "Lineage":
        """With the records first … last behind its own."""
        return self._of((*self.segments, Segment(first, last))) if first <= last else self

    def cut(self, cut: Cut, *, after: int) -> "Lineage":
        """Without the records after a position that the cut names."""
        later = (Segment(max(s.first, after + 1), s.last, (*s.without, cut)) for s in self.segments if s.last > after)
        return self._of((*self.until(after).segments, *later))

    def skipping(self, positions: set[int]) -> "Lineage":
        """As if nothing stood at these positions."""
        kept: list[Segment] = []
        for segment in self.segments:
            first = segment.first
            for position in sorted(p for p in positions if segment.first <= p <= segment.last):
                if first < position:
                    kept.append(Segment(first, position - 1, segment.without))
                first = position + 1
            if first <= segment.last:
                kept.append(Segment(first, segment.last, segment.without))
        return self._of(tuple(kept))

    def on_artifacts_of(self, other: "Lineage") -> bool:
        """Whether both are folded on the same artifacts."""
        return (self.artifact_id, self.pricing_id) == (other.artifact_id, other.pricing_id)

    def begins(self, other: "Lineage") -> bool:
        """Whether the other is this one continued: then its state can be folded from this one's."""
        if not self.on_artifacts_of(other) or len(self.segments) > len(other.segments):
            return False
        if not self.segments:
            return True
        n = len(self.segments) - 1
        mine, its = self.segments[n], other.segments[n]
        return (
            self.segments[:n] == other.segments[:n]
            and (mine.first, mine.without) == (its.first, its.without)
            and mine.last <= its.last
        )

    def beyond(self, place: int) -> Iterator[Segment]:
        """The stretches after a position."""
        for segment in self.segments:
            if segment.last > place:
                yield Segment(max(segment.first, place + 1), segment.last, segment.without)

    def holds(self, position: int) -> bool:
        """Whether a position lies in one of its stretches."""
        return any(s.first <= position <= s.last for s in self.segments)


class Sieve:
    """Cuts, ready to be asked about many records."""

    def __init__(self, cuts: tuple[Cut, ...]) -> None:
        self._users = frozenset(user for cut in cuts for user in cut.users)
        self._clients = frozenset(client for cut in cuts for client in cut.clients)
        self._events = frozenset(event for cut in cuts for event in cut.events)
        self._positions = tuple(span for cut in cuts for span in cut.positions)

    def removes(self, position: int, record: Record) -> bool:
        """Whether a record is cut out. The log's beginning and the acts stay, whatever a cut says."""
        if isinstance(record, Begin | Act | Erased):
            return False
        if self._positions and any(first <= position <= last for first, last in self._positions):
            return True
        user, client, event = subject(record)
        return bool(
            (self._users and user and user_key(user) in self._users)
            or (self._clients and client in self._clients)
            or (self._events and event in self._events)
        )


def subject(record: Record) -> tuple[str, str, str]:
    """Whom a record is about: (user id, client, event id), each empty where it has none.

    Of a quote, its outcome and its cancellation the quote's id is the event's: they leave together.
    """
    values: tuple[Any, ...] = tuple(getattr(record, name, "") for name in ("user_id", "client", "event_id", "quote_id"))
    return values[0], values[1], values[2] or values[3]


def user_key(user_id: str) -> str:
    """What stands for a user in acts: an act that erases must not keep the id.

    >>> user_key("user-1")
    '88e1ea21865aac9a'
    """
    return f"{hash64(user_id):016x}"


def changes_past(act: Act) -> bool:
    """Whether an act makes another lineage; the others are folded like any record."""
    learns = act.act == "resume" and '"meanwhile":"learn"' in act.arguments
    return learns or act.act in ("rollback", "promote", "erase")


class Lineages:
    """The lineage at every position of one log, out of the acts in it, which are few."""

    def __init__(self, artifact_id: str) -> None:
        self.acts: list[tuple[int, Act]] = []
        self.void: list[int] = []  # acts on the past that changed nothing: overtaken by another, or not to be done
        self._changes: list[tuple[int, Lineage]] = [(0, Lineage(artifact_id))]

    @property
    def newest_act(self) -> int:
        """The position of the newest act; 0 where there is none."""
        return self.acts[-1][0] if self.acts else 0

    @property
    def newest_change(self) -> int:
        """The position of the newest act on the past; 0 where there is none."""
        return self._changes[-1][0]

    def at(self, position: int) -> Lineage:
        """What `state(position)` is the fold of."""
        changed_at, lineage = next(change for change in reversed(self._changes) if change[0] <= position)
        return lineage.grown(changed_at + 1, position)

    def branches(self) -> set[int]:
        """Positions whose states later acts go on from: who folds the log from its beginning keeps them."""
        found = set()
        for position, lineage in self._changes[1:]:
            ends = {end for s in lineage.segments for end in (s.last, s.first - 1) if 0 < end < position}
            for end in sorted(ends, reverse=True):
                if self.at(end).begins(lineage):
                    found.add(end)
                    break
        return found

    def note(self, position: int, act: Act) -> Lineage | None:
        """Take the next act. The lineage that an act on the past begins, None for all others."""
        lineage = None
        if changes_past(act):
            lineage = self.planned(position, act)
            if lineage is None:
                self.void.append(position)
            self._changes.append((position, self.at(position - 1) if lineage is None else lineage))
        self.acts.append((position, act))
        return lineage

    def planned(self, position: int, act: Act) -> Lineage | None:
        """The lineage after an act on the past at a position, None where it is void."""
        try:
            arguments = msgspec.json.decode(act.arguments, type=Arguments)
        except msgspec.MsgspecError:
            return None
        if arguments.expected is not None and arguments.expected != self.newest_act:
            return None
        if act.act_id and any(act.act_id == known.act_id for _, known in self.acts):
            return None  # sent again
        present = self.at(position - 1)
        if act.act == "promote":
            if arguments.pricing_artifact is not None:
                return msgspec.structs.replace(present, pricing_id=arguments.pricing_artifact)
            if arguments.artifact is None:
                return None
            return msgspec.structs.replace(present, artifact_id=arguments.artifact)
        if act.act == "resume":
            frozen = self._freezes(present)
            return present.skipping(frozen) if frozen else None
        if arguments.to is None or not 0 < arguments.to < position:
            return None
        if arguments.without:
            return present.cut(arguments.without, after=arguments.to)
        return self.at(arguments.to) if act.act == "rollback" else None

    def _freezes(self, lineage: Lineage) -> set[int]:
        """Positions of the freezes that hold at a lineage's end."""
        frozen: set[int] = set()
        for position, act in self.acts:
            if lineage.holds(position):
                if act.act == "freeze":
                    frozen.add(position)
                elif act.act == "resume":
                    frozen.clear()
        return frozen

    @classmethod
    def of(cls, artifact_id: str, acts: list[tuple[int, Act]]) -> "Lineages":
        """From the acts of a log so far."""
        lineages = cls(artifact_id)
        for position, act in acts:
            lineages.note(position, act)
        return lineages
