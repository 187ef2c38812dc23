"""*Health*, its second table: who reports as nobody else does, and life without them, as a preview."""

import asyncio
from typing import Any
from urllib.parse import urlencode

from api.campaigns import Campaign, campaigns
from api.dashboard.decisions import tag_of
from api.dashboard.tables import Link, State, Table
from api.service import Service
from online.log import LogReader
from online.records import Record, decode

LOOKED_AT = 20_000
_PIECE = 2_000
_TELLING = (b"e1", b"d1", b"q1", b"o1", b"c1")
_LINKED_MAX = 500  # users in one address
_NAMED_MAX = 5


class Watching:
    """What was found in the newest records; looked through again once there are others."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._at = -1
        self._found: list[Campaign] = []
        self._looking = asyncio.Lock()

    async def table(self) -> Table:
        """A row for each campaign, the largest first."""
        async with self._looking:
            head = await self._service.read(lambda reader: reader.head())
            model = self._service.model_if_ready
            if head != self._at and model is not None:
                records = await self._newest(head)
                self._found = await asyncio.to_thread(campaigns, records, model.settings)
                self._at = head
        columns = ("how", "about", "who", "reports", "share of all", "why", "cure")
        rows: list[Any] = [
            (
                State(False, one.how),
                one.subject,
                _names(one),
                one.reports,
                round(one.share, 4),
                one.why,
                Link("life without them: a preview", _preview(one)),
            )
            for one in self._found
        ]
        caption = f"What looks like a campaign, in the newest {LOOKED_AT:,} records"
        return Table(name="campaigns", caption=caption, columns=columns, rows=rows, empty="nobody stands out")

    async def _newest(self, head: int) -> list[Record]:
        found: list[Record] = []
        after = max(0, head - LOOKED_AT)
        while after < head:

            def piece(reader: LogReader, after: int = after) -> tuple[int, list[Record]]:
                entries = reader.read(after, min(_PIECE, head - after), 0)
                told = [decode(payload) for _, payload in entries if tag_of(payload) in _TELLING]
                return (entries[-1][0] if entries else head), told

            after, some = await self._service.read(piece)
            found += some
            await asyncio.sleep(0.002)  # decisions go first
        return found


def _names(one: Campaign) -> str:
    named = ", ".join(one.names[:_NAMED_MAX])
    rest = len(one.names) - _NAMED_MAX
    return f"{len(one.names)} {one.who}: {named}" + (f" and {rest:,} more" if rest > 0 else "")


def _preview(one: Campaign) -> str:
    name = "user" if one.who == "users" else "client"
    return "/dashboard/operate?" + urlencode([(name, who) for who in one.names[:_LINKED_MAX]])
