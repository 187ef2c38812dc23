"""*Timeline*: snapshots, artifacts and operators' acts on one axis, the log's."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from api.dashboard.decisions import tag_of
from api.dashboard.tables import Link, Table
from api.service import Service
from api.values import rfc3339
from online import records
from online.log import LogReader

PAGE = 200
_PIECE = 2_000
_FIRST_LOOK_S = 0.4


class Moment(msgspec.Struct, frozen=True):
    """One thing on the axis."""

    position: int
    at_ms: int
    kind: str  # beginning, act, snapshot
    what: str
    why: str
    who: str
    address: str = ""  # where going back to it is seen first


class _Manifest(msgspec.Struct):
    """What is read of a snapshot's manifest here; manifests never change once they are written."""

    id: str
    position: int
    created_ms: int
    state_digest: str
    reason: str = ""
    label: str = ""


class Timeline:
    """The moments that this worker knows of; it looks through the log once, in pieces, and then at what is new."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._moments: list[Moment] = []
        self._snapshots: dict[str, Moment] = {}
        self._looked = 0
        self._looking: asyncio.Task[None] | None = None

    async def table(self, before: int) -> tuple[Table, int | None]:
        """PAGE moments before a position, newest first; and the position to go on from."""
        head = await self._service.read(lambda reader: reader.head())
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(head))
        snapshots = asyncio.to_thread(self._look_at_snapshots, self._service.home / "snapshots")
        await asyncio.gather(snapshots, asyncio.wait([self._looking], timeout=_FIRST_LOOK_S))
        moments = [one for one in self.moments if not before or one.position < before]
        moments.sort(key=lambda one: (one.position, one.at_ms), reverse=True)
        columns = ("position", "at", "kind", "what", "why", "who")
        rows: list[Any] = [
            (
                one.position,
                rfc3339(one.at_ms),
                one.kind,
                Link(one.what, one.address) if one.address else one.what,
                one.why,
                one.who,
            )
            for one in moments[:PAGE]
        ]
        caption = "Snapshots, artifacts, acts; newest first"
        if self._looked < head:
            caption += f" (looked through {self._looked:,} of {head:,} records so far: come back)"
        query = {"before": str(before) if before else ""}
        table = Table(name="timeline", caption=caption, columns=columns, rows=rows, query=query)
        return table, moments[PAGE - 1].position if len(moments) > PAGE else None

    @property
    def moments(self) -> list[Moment]:
        """All that are known so far, in no order."""
        return [*self._moments, *self._snapshots.values()]

    async def _look(self, head: int) -> None:
        while self._looked < head:
            after = self._looked

            def piece(reader: LogReader, after: int = after) -> list[tuple[int, bytes]]:
                found = reader.read(after, min(_PIECE, head - after), 0)
                return [(at, payload) for at, payload in found if tag_of(payload) in (b"a1", b"b1")] + found[-1:]

            found = await self._service.read(piece)
            if not found:
                return
            for position, payload in found[:-1]:
                self._moments.append(_moment(position, records.decode(payload)))
            self._looked = found[-1][0]
            await asyncio.sleep(0.002)  # decisions go first

    def _look_at_snapshots(self, folder: Path) -> None:
        names = {path.name: path for path in folder.glob("*.json")} if folder.is_dir() else {}
        for name in self._snapshots.keys() - names.keys():
            del self._snapshots[name]
        for name in names.keys() - self._snapshots.keys():
            try:
                found = msgspec.json.decode(names[name].read_bytes(), type=_Manifest)
            except (msgspec.MsgspecError, OSError):
                continue  # `doctor` and `snapshot verify` say what is wrong with it
            what = f"{found.id}, state {found.state_digest}"
            self._snapshots[name] = Moment(
                found.position,
                found.created_ms,
                "snapshot",
                what,
                found.label or found.reason,
                "",
                f"/dashboard/operate?snapshot={quote(found.id, safe='')}",
            )


def _moment(position: int, record: records.Record) -> Moment:
    match record:
        case records.Act():
            arguments = "" if record.arguments == "{}" else f" {record.arguments}"
            return Moment(position, record.received_ms, "act", f"{record.act}{arguments}", record.reason, record.client)
        case records.Begin():
            what = f"the log begins from artifact {record.artifact_id or 'none'}"
            return Moment(position, record.received_ms, "beginning", what, f"seed {record.seed}", "")
    raise ValueError(f"position {position} holds no act: {type(record).__name__}")
