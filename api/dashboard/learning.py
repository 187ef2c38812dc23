"""*Is it learning?*: one event or decision, which parameters it moved, how the next answer changed, and since when."""

import asyncio
import json
import os
import sys
from collections import OrderedDict
from html import escape
from pathlib import Path
from typing import Any

from api.dashboard.decisions import address_of
from api.dashboard.tables import Link, Table
from api.problems import Problem
from api.service import Service

_TIMEOUT_S = 120.0
_KEPT = 64
_LAUNCH = Path(__file__).resolve().parents[2] / "online" / "log" / "launch.py"


class Traces:
    """Traces, one at a time, by `api.tracing` in a process of its own; the last ones are kept, for a page's tables."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._one_at_a_time = asyncio.Lock()
        self._kept: OrderedDict[str, dict[str, Any]] = OrderedDict()

    async def of(self, text: str) -> dict[str, Any]:
        """The trace of an id or a position. Raises Problem: record_unknown, trace_failed."""
        async with self._one_at_a_time:
            if text not in self._kept:
                self._kept[text] = await self._trace(text)
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            # What the answer names may have come since: only a finished story is kept.
            found = self._kept[text]
            if not found["first_decision"]:
                del self._kept[text]
            return found

    async def _trace(self, text: str) -> dict[str, Any]:
        command = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), sys.executable, "-m", "api.tracing"]
        command += ["--home", str(self._service.home), "--log-url", self._service.settings.log_url, "--", text]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                out, talk = await process.communicate()
        except TimeoutError:
            raise Problem("trace_failed", f"Folding up to there takes longer than {_TIMEOUT_S:.0f} s.") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 3:
            raise Problem("record_unknown", talk.decode(errors="replace").strip().split("\n")[-1][:500])
        if process.returncode:
            raise Problem("trace_failed", talk.decode(errors="replace").strip().split("\n")[-1][:500])
        found: dict[str, Any] = json.loads(out)
        return found


def moved(found: dict[str, Any], text: str) -> Table:
    """Which parameters moved."""
    columns = ("parameter", "whose", "rows", "numbers", "largest change")
    rows: list[Any] = [
        (one["parameter"], one["whose"], one["rows"], one["numbers"], one["largest"]) for one in found["moved"]
    ]
    return Table(
        name="moved",
        caption="What it moved",
        columns=columns,
        rows=rows,
        query={"id": text},
        empty=found["why_not"] or "nothing",
    )


def answer(found: dict[str, Any], text: str) -> Table:
    """The same question before and after."""
    columns = ("item", "position before", "position after", "score before", "score after")
    rows: list[Any] = [
        (one["item_id"], one["position_before"], one["position_after"], one["score_before"], one["score_after"])
        for one in found["answer"]
    ]
    caption = f"The next answer for user {found['user_id']}, before and after: the same question, the same draws"
    return Table(
        name="answer",
        caption=caption,
        columns=columns,
        rows=rows,
        query={"id": text},
        empty="a record of this kind belongs to no user",
    )


def items(found: dict[str, Any], text: str) -> Table:
    """The items that moved furthest."""
    rows: list[Any] = [tuple(one) for one in found["items"]]
    caption = "The items whose vectors moved, the furthest first"
    return Table(name="items-moved", caption=caption, columns=("item", "distance"), rows=rows, query={"id": text})


def outcomes(found: dict[str, Any], text: str) -> Table:
    """The events that named a decision."""
    rows: list[Any] = [
        (position, Link(event_id, f"/dashboard/learning?id={position}")) for event_id, position in found["named_by"]
    ]
    return Table(
        name="outcomes", caption="What was reported of it", columns=("position", "event"), rows=rows, query={"id": text}
    )


def told(found: dict[str, Any], text: str) -> str:
    """The page's HTML."""
    shown = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(_short(value))}</dd>" for name, value in found["record"].items()
    )
    if found["learned"]:
        shared = [one for one in found["moved"] if one["whose"] == "shared"]
        verdict = f'<p class="verdict good">Yes: it moved {sum(one["numbers"] for one in shared):,} shared numbers.</p>'
    else:
        verdict = f'<p class="verdict">Not by itself. {escape(found["why_not"])}</p>'
    if found["answer"]:
        moved_scores = any(one["score_before"] != one["score_after"] for one in found["answer"])
        change = "kept its order; its scores moved" if moved_scores else "is what it was"
        change = "changed" if found["slate_changed"] else change
        verdict += f"<p>The next answer for this user {change}.</p>"
    if found["first_decision"]:
        verdict += (
            f'<p>In effect since decision <a href="{escape(address_of(found["first_decision"]))}">'
            f"{escape(found['first_decision'])}</a> at position {found['first_decision_position']:,}: "
            f"{found['first_decision_after_ms']:,} ms after the record arrived, the first one asked for from a state "
            "that knew it.</p>"
        )
    else:
        verdict += "<p>No later decision is recorded yet: the next one will know it.</p>"
    tables = [moved(found, text), answer(found, text), items(found, text)]
    if found["kind"] == "decision":
        tables.append(outcomes(found, text))
    return (
        f"{verdict}<h2>{escape(found['kind'].capitalize())} at position {found['position']:,}</h2>"
        f'<dl class="facts">{shown}</dl>' + "".join(table.html() for table in tables)
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}…"
