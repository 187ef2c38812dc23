"""One fare explained: demand at it and at its neighbours, what the seat was worth, which rules moved it."""

from html import escape
from typing import Any
from urllib.parse import quote

from api.dashboard.drawing import Line, figure
from api.dashboard.flights import flight_address, money
from api.dashboard.tables import Table
from api.decisions import describe
from api.problems import Problem
from api.schemas_fares import FareDecisionReply
from api.service import Service


async def fare(service: Service, quote_id: str) -> FareDecisionReply:
    """A fare as recorded. Raises Problem."""
    found = await describe(service, quote_id)
    if isinstance(found, FareDecisionReply):
        return found
    raise Problem("decision_unknown", "This is a slate, and no fare.")


def demand(found: FareDecisionReply) -> Table:
    """P(books) at the fare and its neighbours, and what a request was worth at each."""
    columns = ("fare", "P(books)", "low", "high", "P × (fare − bid price)", "quoted")
    bid_price = found.model.bid_price_cents
    rows: list[Any] = [
        (
            one.fare_cents / 100,
            one.probability,
            one.low,
            one.high,
            round(one.probability * (one.fare_cents - bid_price) / 100, 2),
            one.fare_cents == found.fare_cents,
        )
        for one in found.demand
    ]
    caption = "Demand at this fare and its neighbours, with one posterior deviation"
    empty = "the model was not asked: nothing for sale, or a rule named the fare"
    return Table(name="demand", caption=caption, columns=columns, rows=rows, query={"id": found.quote_id}, empty=empty)


def steps(found: FareDecisionReply) -> Table:
    """From the model's fare to the one that was shown."""
    rows: list[Any] = [
        (one.rule, None if one.fare_cents is None else one.fare_cents / 100, one.note) for one in found.because
    ]
    caption = "From the model's fare to the one shown"
    return Table(
        name="fare-steps", caption=caption, columns=("who", "fare after it", "why"), rows=rows,
        query={"id": found.quote_id},
    )  # fmt: skip


def explained(found: FareDecisionReply) -> str:
    """The page's HTML."""
    flight = f'<a href="{escape(flight_address(found.flight_id))}">{escape(found.flight_id)}</a>'
    facts = [
        ("quote", found.quote_id),
        ("decided at", found.decided_at),
        ("fare", "nothing for sale" if found.fare_cents is None else money(found.fare_cents)),
        ("bid price", f"{money(found.model.bid_price_cents)}: what the seat was worth kept"),
        ("named by", found.model.source),
        ("seats left", f"{found.seats_left:,}"),
        ("honoured until", found.expires_at),
        ("held until", found.held_until or "no seat was held"),
        ("features", ", ".join(f"{name} = {value:g}" for name, value in found.features.items()) or "none given"),
        ("disclosure", found.disclosure),
        ("stands at", f"position {found.log_position:,}"),
        ("decided from", f"position {found.model.position:,}, artifact {found.model.artifact or 'none'}"),
        ("staleness", f"{found.model.staleness_ms} ms"),
    ]
    told = f"<dt>flight</dt><dd>{flight}</dd>" + "".join(
        f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts
    )
    curve = [(one.fare_cents / 100, 100.0 * one.probability) for one in found.demand]
    chart = figure(
        "Demand",
        "chance that this request books, by fare; the band is one posterior deviation",
        [
            Line(
                "P(books)",
                "a",
                curve,
                [100.0 * one.low for one in found.demand],
                [100.0 * one.high for one in found.demand],
            )
        ],
        x_label=lambda fare: f"{fare:,.2f}",
        y_label=lambda share: f"{share:.0f} %",
        y_from=0.0,
    )
    address = quote(found.quote_id, safe="")
    return (
        f'<dl class="facts">{told}</dl>'
        f'<p><button data-reproduce="/v1/decisions/{address}/reproduce">Reproduce</button> '
        f'<a class="button" href="/v1/decisions/{address}">.json</a></p>'
        f'<output id="reproduced" aria-live="polite"></output>'
        f'<div class="charts">{chart if found.demand else ""}</div>{demand(found).html()}{steps(found).html()}'
    )
