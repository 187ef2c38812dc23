"""*Flights*, its last table: which clients (keys) teach what fares are made from, and how much of it counts."""

from typing import Any

from api.dashboard.tables import State, Table
from api.keys import KeysUnreadable, read_keys
from api.service import Service
from online.chance import hash64

COLUMNS = ("client", "markets", "bookings expected", "kept", "counts, in its worst market")


def fare_clients(service: Service) -> Table:
    """A row for each client, those of whom most is expected first."""
    model = service.model_if_ready
    try:
        names = {hash64(key.name): key.name for key in read_keys(service.home)}
    except KeysUnreadable:
        names = {}
    names[hash64("")] = "without a key"
    rows: list[Any] = [
        (
            names.get(one.key, f"{one.key:016x}"),
            one.markets,
            round(one.expected, 1),
            round(one.kept, 1),
            State(one.least >= 0.5, f"{100.0 * one.least:.0f} %"),
        )
        for one in ([] if model is None else model.pricing.clients())
    ]
    caption = "What clients say counts as far as the bookings that they keep vouch for it"
    return Table(name="fare-clients", caption=caption, columns=COLUMNS, rows=rows, empty="nobody has answered yet")
