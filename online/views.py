"""The kernels' views of named arrays: one way to bind them, for the state that learns and for a worker that reads."""

from collections.abc import Mapping
from typing import NamedTuple

from online.fifo import Fifo, fifo
from online.frame import Frame, frame
from online.pricing.arrays import pricing_views
from online.pricing.layout import Pricing
from online.pricing.selling import Selling, selling_views
from online.recommendation.arrays import Learners, learners
from online.recommendation.attribution import Decisions, Slots, decisions, slots
from online.recommendation.catalogue import Catalogue, catalogue
from online.rows import Rows, rows
from online.settings import Settings
from online.tables import Array, Arrays, Column
from online.text import Text, text


class Views(NamedTuple):
    """Groups of arrays, as the kernels take them."""

    frame: Frame
    seen: Fifo
    users: Rows
    items: Rows
    catalogue: Catalogue
    decisions: Decisions
    slots: Slots
    learners: Learners
    id_text: Text
    about_text: Text
    pricing: Pricing
    selling: Selling


def bind(arrays: Arrays, settings: Settings) -> Views:
    """Views of `arrays`; good until an array is replaced."""
    return Views(
        frame=frame(arrays),
        seen=fifo(arrays, "seen"),
        users=rows(arrays, "users"),
        items=rows(arrays, "items"),
        catalogue=catalogue(arrays),
        decisions=decisions(arrays),
        slots=slots(arrays),
        learners=learners(arrays, settings.recommendation),
        id_text=text(arrays, "items", "id"),
        about_text=text(arrays, "items", "about"),
        pricing=pricing_views(arrays, settings.pricing),
        selling=selling_views(arrays),
    )


def read_only(arrays: Mapping[str, Array], columns: Mapping[str, Column]) -> Arrays:
    """The same arrays, not to be written; columns that are not there as empty ones.

    Deciding always works on these: a read that writes would fail, and the kernels are compiled for one kind of array.
    """
    shown: Arrays = {}
    for name, column in columns.items():
        view = arrays[name].view() if name in arrays else column.allocated(0)
        view.flags.writeable = False
        shown[name] = view
    return shown
