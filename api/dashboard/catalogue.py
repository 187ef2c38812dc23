"""*Catalogue*: the items, the most wanted first, and what was learned about each."""

from typing import Any

import msgspec
import numpy as np

from api.dashboard.tables import Table
from api.service import Service
from api.values import rfc3339
from online.chance import hash64
from online.recommendation.catalogue import NEVER_MS
from online.rows import find_row
from online.text import read_text
from online.views import Views, bind

PAGE = 100
_SEARCHED_MAX = 20_000  # of the most wanted, by a part of their title or id; an exact id is found among all
_READS_MAX = 100
_HALF_LIFE = 2  # of the popularities: neither the quickest nor the slowest


def catalogue(service: Service, text: str, offset: int) -> Table:
    """PAGE items from `offset` on; with a text, those whose id or title holds it."""
    columns = ("rank", "item", "title", "bias", "response, bits", "available")
    rows: list[Any] = []
    model = service.model_if_ready
    if model is not None:
        for _ in range(_READS_MAX):
            version, arrays = model.front_arrays()
            rows = _rows(bind(arrays, model.settings), text.strip(), offset)
            if model.holds(version):
                break
    query = {"q": text, "offset": str(offset) if offset else ""}
    caption = f"Items by popularity, from rank {offset + 1:,}"
    return Table(name="catalogue", caption=caption, columns=columns, rows=rows, query=query, empty="no such item")


def _rows(views: Views, text: str, offset: int) -> list[Any]:
    count = int(views.items.handed_out[0])
    heat = np.asarray(views.learners.items.heat[:count, _HALF_LIFE])
    order = np.argsort(-heat, kind="stable")
    if text:
        exact = int(find_row(views.items, np.uint64(hash64(text))))
        wanted = text.casefold()
        found = [exact] if exact >= 0 else []
        for row in order[:_SEARCHED_MAX].tolist():
            if len(found) > offset + PAGE:
                break
            if row != exact and (wanted in read_text(views.id_text, row).casefold() or wanted in _title(views, row)):
                found.append(row)
        order = np.array(found, np.int64)
    ranks = {int(row): rank for rank, row in enumerate(np.argsort(-heat, kind="stable").tolist(), 1)} if text else {}
    return [
        (
            ranks.get(row, number),
            read_text(views.id_text, row),
            _title(views, row, shown=True),
            float(views.learners.items.bias[row]),
            float(views.learners.items.response[row]),
            _available(views, row),
        )
        for number, row in enumerate(order[offset : offset + PAGE].tolist(), offset + 1)
    ]


def _title(views: Views, row: int, *, shown: bool = False) -> str:
    about = read_text(views.about_text, row)
    if not about:
        return ""
    title = str(msgspec.json.decode(about).get("title", ""))
    return title if shown else title.casefold()


def _available(views: Views, row: int) -> str:
    first, last = int(views.catalogue.available_from_ms[row]), int(views.catalogue.available_until_ms[row])
    begins = "" if first <= -NEVER_MS else f"from {rfc3339(first)}"
    ends = "" if last >= NEVER_MS else f"until {rfc3339(last)}"
    return " ".join(part for part in (begins, ends) if part) or "always"
