"""A table of the dashboard, as a page shows it, as JSON and as CSV: one source for all three."""

import csv
import io
from html import escape
from typing import Any
from urllib.parse import urlencode

import msgspec
from fastapi import Response

# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_encoder = msgspec.json.Encoder()


class Link(msgspec.Struct, frozen=True):
    """A cell that leads somewhere; JSON and CSV have its text."""

    text: str
    address: str


class State(msgspec.Struct, frozen=True):
    """A cell that is well or not; JSON has `ok`, CSV and pages the text."""

    ok: bool
    text: str


Cell = str | int | float | bool | None | Link | State


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """`name` and `query` are its permalink: /dashboard/tables/NAME.json?QUERY."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    query: dict[str, str] = {}
    empty: str = "nothing yet"

    def html(self) -> str:
        """With its caption, and links to itself as JSON and CSV."""
        query = urlencode({name: value for name, value in self.query.items() if value})
        links = " ".join(
            f'<a href="/dashboard/tables/{self.name}.{kind}{"?" + escape(query) if query else ""}">.{kind}</a>'
            for kind in ("json", "csv")
        )
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.columns)
        body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in self.rows)
        if not self.rows:
            body = f'<tr><td colspan="{len(self.columns)}" class="quiet">{escape(self.empty)}</td></tr>'
        return (
            f'<div class="table" tabindex="0" role="region" aria-label="{escape(self.caption)}"><table>'
            f'<caption>{escape(self.caption)} <span class="links">{links}</span></caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def json(self) -> Response:
        """A list of objects, one a row."""
        rows = [dict(zip(self.columns, map(_plain, row), strict=True)) for row in self.rows]
        return Response(_encoder.encode(rows), media_type="application/json", headers=HEADERS)

    def csv(self) -> Response:
        """RFC 4180, with a header. A text that a spreadsheet would compute begins with an apostrophe."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(self.columns)
        writer.writerows([_flat(cell) for cell in row] for row in self.rows)
        headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{self.name}.csv"'}
        return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def _cell(cell: Cell) -> str:
    match cell:
        case Link():
            return f'<td><a href="{escape(cell.address)}">{escape(cell.text)}</a></td>'
        case State():
            return f'<td class="{"good" if cell.ok else "bad"}">{"" if cell.ok else "✕ "}{escape(cell.text)}</td>'
        case None:
            return '<td class="quiet">–</td>'
        case bool():
            return f"<td>{'yes' if cell else 'no'}</td>"
        case int():
            return f'<td class="number">{cell:,}</td>'
        case float():
            return f'<td class="number">{cell:.6g}</td>'
    return f"<td>{escape(cell)}</td>"


def _plain(cell: Cell) -> Any:
    match cell:
        case Link():
            return cell.text
        case State():
            return {"ok": cell.ok, "found": cell.text}
    return cell


def _flat(cell: Cell) -> Any:
    plain = cell.text if isinstance(cell, Link | State) else cell
    return f"'{plain}" if isinstance(plain, str) and plain.startswith(_FORMULA) else plain
