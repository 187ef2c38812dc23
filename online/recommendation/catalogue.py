"""The items as clients describe them: id, title and features, availability, and the groups that caps count."""

from typing import Any, NamedTuple

import msgspec
import numpy as np

from online.chance import hash64
from online.records import ItemUpsert
from online.rows import rows_columns
from online.settings import CAPS_MAX, Settings
from online.tables import Column
from online.text import text_columns

GROUPS_MAX = 3  # values of one capped feature that an item may have; more are ignored
NEVER_MS = 1 << 62


class Catalogue(NamedTuple):
    """Per item, as the decision's rules read it."""

    available_from_ms: np.ndarray[Any, np.dtype[np.int64]]  # [items]
    available_until_ms: np.ndarray[Any, np.dtype[np.int64]]  # [items], exclusive
    groups: np.ndarray[Any, np.dtype[np.uint64]]  # [items, CAPS_MAX, GROUPS_MAX], 0 is none
    about_length: np.ndarray[Any, np.dtype[np.int32]]  # [items] bytes of the description, 0 where there is none


CATALOGUE_COLUMNS = (
    *rows_columns("items"),
    Column(name="items.last_position", dtype="i8"),
    Column(name="items.available_from_ms", dtype="i8", fill=-NEVER_MS, served=True),
    Column(name="items.available_until_ms", dtype="i8", fill=NEVER_MS, served=True),
    Column(name="items.groups", dtype="u8", shape=(CAPS_MAX, GROUPS_MAX), served=True),
    *text_columns("items", "id"),
    *text_columns("items", "about"),
)


def catalogue(arrays: dict[str, np.ndarray[Any, Any]]) -> Catalogue:
    """The kernels' view of the columns."""
    return Catalogue(**{name: arrays[f"items.{name}"] for name in Catalogue._fields})


def about(record: ItemUpsert) -> bytes:
    """What is kept of an item's description, as canonical JSON."""
    return msgspec.json.encode({"title": record.title, "features": record.features or {}}, order="sorted")


def describe(catalogue: Catalogue, settings: Settings, row: int, record: ItemUpsert) -> None:
    """Write availability and groups of one item, in place."""
    catalogue.available_from_ms[row] = -NEVER_MS if record.available_from_ms is None else record.available_from_ms
    catalogue.available_until_ms[row] = NEVER_MS if record.available_until_ms is None else record.available_until_ms
    catalogue.groups[row] = 0
    for number, cap in enumerate(settings.caps):
        value = (record.features or {}).get(cap.feature)
        values = value if isinstance(value, list) else [] if value is None else [value]
        for k, one in enumerate(values[:GROUPS_MAX]):
            catalogue.groups[row, number, k] = hash64(str(one))
