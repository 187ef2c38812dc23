"""The addresses of the dashboard. Every view is a permalink, every table has .json and .csv."""

from collections.abc import Awaitable, Callable, Mapping
from html import escape
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse

from api.connection import STREAM
from api.dashboard import catalogue as catalogues
from api.dashboard import decisions as deciding
from api.dashboard import fares as faring
from api.dashboard import flights as flying
from api.dashboard import learning
from api.dashboard import now as nows
from api.dashboard.axis import axis
from api.dashboard.campaigns import Watching
from api.dashboard.fare_clients import fare_clients
from api.dashboard.health import health
from api.dashboard.operate import Wanted, operate
from api.dashboard.page import asset, room, search
from api.dashboard.pulse import Pulse
from api.dashboard.tables import Table
from api.dashboard.timeline import Timeline
from api.decisions import describe
from api.door import ANYBODY, Principal
from api.problems import Problem
from api.schemas_fares import FareDecisionReply
from api.service import Service
from online.records import ARMS, ID_LENGTH_MAX

_POSITION_MAX = 1 << 62


def add_dashboard_routes(app: FastAPI, service: Service, pulse: Pulse) -> None:
    """`/`, `/dashboard/…` and what they load."""
    traces, timeline, watching = learning.Traces(service), Timeline(service), Watching(service)

    def show(request: Request, view: str, title: str, body: str, status: int = 200) -> Response:
        principal: Principal = request.scope.get("state", {}).get("principal", ANYBODY)
        return room(view, title, body, signed_in=principal.name, status=status)

    @app.get("/", name="now", include_in_schema=False)
    async def now(request: Request) -> Response:
        return show(request, "/", "Now", await nows.now(service))

    @app.get("/dashboard/learning", name="learning", include_in_schema=False)
    async def is_it_learning(request: Request) -> Response:
        text = _text(request, "id")
        body = search("/dashboard/learning", "Event, decision or position", "id", text, button="Trace")
        if not text:
            body += (
                "<p>Paste the id of an event or a decision, or a position of the log: the state before it is built "
                "again, the record is folded, and the same question is asked before and after.</p>"
            )
            return show(request, "/dashboard/learning", "Is it learning?", body)
        try:
            body += learning.told(await traces.of(text), text)
            status = 200
        except Problem as problem:
            body, status = body + _alarm(problem), problem.status
        return show(request, "/dashboard/learning", "Is it learning?", body, status)

    @app.get("/dashboard/decisions", name="decisions", include_in_schema=False)
    async def decisions(request: Request) -> Response:
        user, arm, before = _text(request, "user"), _text(request, "arm"), _number(request, "before")
        options = "".join(f"<option{' selected' if one == arm else ''}>{one}</option>" for one in ("", *ARMS))
        more = f'<label>Arm <select name="arm">{options}</select></label>'
        body = search("/dashboard/decision", "Decision", "id", "", button="Explain")
        body += search("/dashboard/decisions", "User", "user", user, more=more)
        table, rest = await deciding.decisions(service, user=user, arm=arm, before=before)
        body += table.html() + _older("/dashboard/decisions", rest, user=user, arm=arm)
        return show(request, "/dashboard/decisions", "Decisions", body)

    @app.get("/dashboard/decision", name="decision_page", include_in_schema=False)
    async def decision(request: Request) -> Response:
        text = _text(request, "id")
        body = search("/dashboard/decision", "Decision", "id", text, button="Explain")
        try:
            found = await describe(service, text)
            if isinstance(found, FareDecisionReply):
                body += faring.explained(found)
            else:
                body += deciding.explained(found, deciding.slate_table(found))
            status = 200
        except Problem as problem:
            body, status = body + _alarm(problem), problem.status
        return show(request, "/dashboard/decisions", "One decision", body, status)

    @app.get("/dashboard/timeline", name="timeline", include_in_schema=False)
    async def timeline_(request: Request) -> Response:
        table, rest = await timeline.table(_number(request, "before"))
        body = axis(pulse.samples, timeline.moments) + table.html() + _older("/dashboard/timeline", rest)
        return show(request, "/dashboard/timeline", "Timeline", body)

    @app.get("/dashboard/catalogue", name="catalogue", include_in_schema=False)
    async def catalogue(request: Request) -> Response:
        text, offset = _text(request, "q"), _number(request, "offset")
        table = catalogues.catalogue(service, text, offset)
        body = search("/dashboard/catalogue", "Item", "q", text) + table.html()
        body += _more("/dashboard/catalogue", text, offset, len(table.rows), catalogues.PAGE)
        return show(request, "/dashboard/catalogue", "Catalogue", body)

    @app.get("/dashboard/flights", name="flights", include_in_schema=False)
    async def flights(request: Request) -> Response:
        text, offset = _text(request, "q"), _number(request, "offset")
        table = flying.flights(service, text, offset)
        body = search("/dashboard/flights", "Flight or market", "q", text) + table.html()
        body += _more("/dashboard/flights", text, offset, len(table.rows), flying.PAGE)
        body += (await flying.quotes(service)).html() + flying.rules(service).html() + fare_clients(service).html()
        return show(request, "/dashboard/flights", "Flights", body)

    @app.get("/dashboard/flight", name="flight_page", include_in_schema=False)
    async def flight(request: Request) -> Response:
        body = search("/dashboard/flights", "Flight or market", "q", "")
        try:
            body, status = body + (await flying.flight(service, _text(request, "id"))).html(), 200
        except Problem as problem:
            body, status = body + _alarm(problem), problem.status
        return show(request, "/dashboard/flights", "One flight", body, status)

    @app.get("/dashboard/health", name="health", include_in_schema=False)
    async def health_(request: Request) -> Response:
        body = (await health(service)).html() + (await watching.table()).html()
        return show(request, "/dashboard/health", "Health", body)

    @app.get("/dashboard/operate", name="operate", include_in_schema=False)
    async def operate_(request: Request) -> Response:
        users = [one for one in request.query_params.getlist("user") if len(one) <= ID_LENGTH_MAX]
        asked = {name: _text(request, name) for name in Wanted.__struct_fields__ if name not in ("user", "users")}
        wanted = Wanted(**asked, user="".join(users[:1]).strip(), users=tuple(users[1:]))
        return show(request, "/dashboard/operate", "Operate", operate(service, wanted))

    async def _moved(request: Request) -> Table:
        return learning.moved(await traces.of(_text(request, "id")), _text(request, "id"))

    async def _answer(request: Request) -> Table:
        return learning.answer(await traces.of(_text(request, "id")), _text(request, "id"))

    async def _items(request: Request) -> Table:
        return learning.items(await traces.of(_text(request, "id")), _text(request, "id"))

    async def _outcomes(request: Request) -> Table:
        return learning.outcomes(await traces.of(_text(request, "id")), _text(request, "id"))

    async def _decisions(request: Request) -> Table:
        user, arm, before = _text(request, "user"), _text(request, "arm"), _number(request, "before")
        return (await deciding.decisions(service, user=user, arm=arm, before=before))[0]

    async def _slate(request: Request) -> Table:
        return (await deciding.slate(service, _text(request, "id")))[1]

    async def _timeline(request: Request) -> Table:
        return (await timeline.table(_number(request, "before")))[0]

    async def _catalogue(request: Request) -> Table:
        return catalogues.catalogue(service, _text(request, "q"), _number(request, "offset"))

    async def _flights(request: Request) -> Table:
        return flying.flights(service, _text(request, "q"), _number(request, "offset"))

    async def _quotes(_: Request) -> Table:
        return await flying.quotes(service)

    async def _outlook(request: Request) -> Table:
        return (await flying.flight(service, _text(request, "id"))).outlook()

    async def _sensitivity(request: Request) -> Table:
        return (await flying.flight(service, _text(request, "id"))).sensitivity()

    async def _fare_clients(_: Request) -> Table:
        return fare_clients(service)

    async def _rules(request: Request) -> Table:
        text = _text(request, "id")
        return (await flying.flight(service, text)).rules if text else flying.rules(service)

    async def _demand(request: Request) -> Table:
        return faring.demand(await faring.fare(service, _text(request, "id")))

    async def _steps(request: Request) -> Table:
        return faring.steps(await faring.fare(service, _text(request, "id")))

    async def _health(_: Request) -> Table:
        return await health(service)

    async def _campaigns(_: Request) -> Table:
        return await watching.table()

    async def _accounting(_: Request) -> Table:
        return nows.accounting(service)

    async def _arms(_: Request) -> Table:
        return nows.arms(service)

    async def _history(_: Request) -> Table:
        return nows.history(pulse)

    tables: dict[str, Callable[[Request], Awaitable[Table]]] = {
        "accounting": _accounting,
        "arms": _arms,
        "history": _history,
        "moved": _moved,
        "answer": _answer,
        "items-moved": _items,
        "outcomes": _outcomes,
        "decisions": _decisions,
        "slate": _slate,
        "timeline": _timeline,
        "catalogue": _catalogue,
        "flights": _flights,
        "quotes": _quotes,
        "flight-outlook": _outlook,
        "sensitivity": _sensitivity,
        "fare-rules": _rules,
        "fare-clients": _fare_clients,
        "demand": _demand,
        "fare-steps": _steps,
        "health": _health,
        "campaigns": _campaigns,
    }

    @app.get("/dashboard/tables/{name}.{kind}", name="table", include_in_schema=False)
    async def table_(name: str, kind: str, request: Request) -> Response:
        if name not in tables or kind not in ("json", "csv"):
            raise Problem("not_found")
        table = await tables[name](request)
        return table.json() if kind == "json" else table.csv()

    @app.get("/dashboard/pulse.json", name="pulse", include_in_schema=False)
    async def pulse_(_: Request) -> Response:
        return pulse.json()

    @app.get(STREAM, name="stream", include_in_schema=False)
    async def stream(_: Request) -> Response:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(pulse.stream(), media_type="text/event-stream", headers=headers)

    @app.get("/dashboard.css", name="dashboard_asset", include_in_schema=False)
    async def style() -> Response:
        return asset("dashboard.css")

    @app.get("/dashboard.js", name="dashboard_asset", include_in_schema=False)
    async def script() -> Response:
        return asset("dashboard.js")


def _text(request: Request, name: str) -> str:
    return request.query_params.get(name, "").strip()[:512]


def _number(request: Request, name: str) -> int:
    text = _text(request, name)
    return min(int(text), _POSITION_MAX) if text.isascii() and text.isdigit() else 0


def _older(address: str, before: int | None, **query: str) -> str:
    if before is None:
        return ""
    return _following("Older", address, {name: value for name, value in query.items() if value} | {"before": before})


def _more(address: str, text: str, offset: int, shown: int, page: int) -> str:
    return _following("More", address, {"q": text, "offset": offset + page}) if shown == page else ""


def _following(label: str, address: str, query: Mapping[str, str | int]) -> str:
    return f'<p><a class="button" rel="next" href="{address}?{escape(urlencode(query))}">{label}</a></p>'


def _alarm(problem: Problem) -> str:
    return f'<p class="alarm" role="alert"><strong>✕ {escape(problem.detail)}</strong> {escape(problem.kind.cure)}</p>'
