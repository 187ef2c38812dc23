"""The dashboard: its tables add up, its pages load in a real browser, what is live moves, and no mouse is needed."""

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.dashboard.axis import axis
from api.dashboard.page import VIEWS
from api.dashboard.tables import Link, State, Table
from api.dashboard.timeline import Moment
from api.keys import create_key
from online import records
from tests.api import chromium
from tests.api.conftest import Running, eventually

HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def busy(service: Running) -> Running:
    """A service with slates, outcomes, a hostile title and an act."""
    client = service.client
    client.put("/v1/items/i1", json={"title": HOSTILE})
    for number in range(30):
        slate = client.post("/v1/recommendations", json={"user_id": f"u{number % 5}", "n": 3}).json()
        event = {
            "event_id": f"watched-{number}",
            "event_type": "watch",
            "user_id": f"u{number % 5}",
            "item_id": slate["items"][0]["item_id"],
            "value": 0.9,
            "decision_id": slate["decision_id"],
        }
        last = client.post("/v1/events", json={"events": [event]}).json()
    client.post("/v1/acts", json={"act": "resume", "reason": "=1+1"})
    assert eventually(lambda: client.get("/v1/state").json()["position"] > last["position"])
    return service


def rows(service: Running, name: str, **query: str) -> list[dict[str, Any]]:
    reply = service.client.get(f"/dashboard/tables/{name}.json", params=query)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()
    return found


def test_a_table_says_the_same_as_page_json_and_csv() -> None:
    table = Table(
        name="t",
        caption="A <b> table",
        columns=("a", "b", "c"),
        rows=[("=1+1", Link("x & y", "/z?a=1&b=2"), State(False, "red")), (None, 1_234, 0.5)],
    )
    page = table.html()
    assert "A &lt;b&gt; table" in page and "x &amp; y" in page and 'href="/z?a=1&amp;b=2"' in page
    assert json.loads(table.json().body) == [
        {"a": "=1+1", "b": "x & y", "c": {"ok": False, "found": "red"}},
        {"a": None, "b": 1234, "c": 0.5},
    ]
    read = list(csv.reader(io.StringIO(bytes(table.csv().body).decode())))
    assert read == [["a", "b", "c"], ["'=1+1", "x & y", "red"], ["", "1234", "0.5"]], "no formula reaches a spreadsheet"


def test_every_event_is_accounted_for(busy: Running) -> None:
    (row,) = rows(busy, "accounting")
    assert row["received"] == row["applied"] + row["duplicate"] + row["late"] + row["rejected"] >= 230
    assert row["accounted for"]["ok"] is True


def test_the_newest_decisions_are_listed_found_by_user_and_explained(busy: Running) -> None:
    listed = rows(busy, "decisions")
    positions = [row["position"] for row in listed]
    assert len(listed) >= 30 and positions == sorted(positions, reverse=True)
    of_one = rows(busy, "decisions", user="u3")
    assert of_one and {row["user"] for row in of_one} == {"u3"}
    older = rows(busy, "decisions", before=str(positions[9]))
    assert [row["position"] for row in older] == positions[10:]
    (slate,) = [rows(busy, "slate", id=listed[0]["decision"])]
    recorded = busy.client.get(f"/v1/decisions/{listed[0]['decision']}").json()
    assert [row["item"] for row in slate] == [item["item_id"] for item in recorded["items"]]


def test_an_event_shows_what_it_moved_how_the_answer_changed_and_since_when(busy: Running) -> None:
    moved = rows(busy, "moved", id="watched-3")
    assert {row["whose"] for row in moved} == {"shared", "user u3"}
    assert any(row["parameter"].startswith("items.") for row in moved)
    answer = rows(busy, "answer", id="watched-3")
    assert any(row["score before"] != row["score after"] for row in answer)
    page = busy.client.get("/dashboard/learning", params={"id": "watched-3"}).text
    assert "Yes: it moved" in page and "In effect since decision" in page
    position = str(
        busy.client.post(
            "/v1/events",
            json={
                "events": [
                    {"event_id": "watched-3", "event_type": "watch", "user_id": "u3", "item_id": "i1", "value": 0.9}
                ]
            },
        ).json()["position"]
    )
    tally = busy.client.get("/dashboard/learning", params={"id": position}).text
    assert "Not by itself" in tally, "the same id again is counted, and teaches nothing"


def test_a_decision_shows_what_was_reported_of_it(busy: Running) -> None:
    decision = rows(busy, "decisions", user="u4")[0]["decision"]
    assert [row["event"] for row in rows(busy, "outcomes", id=decision)] == ["watched-29"]


@pytest.mark.parametrize("text", ["nonsense", "0", "99999999", HOSTILE, "--help", "é\u202e"])
def test_what_is_not_in_the_log_is_said_to_be_missing(busy: Running, text: str) -> None:
    page = busy.client.get("/dashboard/learning", params={"id": text})
    assert page.status_code == 404 and 'role="alert"' in page.text and HOSTILE not in page.text
    refused = busy.client.get("/dashboard/tables/moved.json", params={"id": text})
    assert (refused.status_code, refused.json()["code"]) == (404, "record_unknown")


def test_acts_snapshots_and_the_beginning_stand_on_the_timeline(busy: Running) -> None:
    assert eventually(lambda: {row["kind"] for row in rows(busy, "timeline")} >= {"act", "beginning"})
    found = {row["kind"]: row for row in rows(busy, "timeline")}
    assert found["act"]["why"] == "=1+1" and found["beginning"]["position"] == 1
    text = busy.client.get("/dashboard/tables/timeline.csv").text
    assert "'=1+1" in text


def test_reward_and_what_was_done_stand_on_one_axis(busy: Running) -> None:
    busy.client.post("/v1/acts", json={"act": "resume", "reason": HOSTILE})
    taken = busy.client.post("/v1/snapshots", json={"label": "on the axis"}, timeout=60.0).json()

    def drawn() -> bool:
        page = busy.client.get("/dashboard/timeline").text
        figure = page.partition('<figure class="chart wide">')[2].partition("</figure>")[0]
        marks = "<title>act at " in figure and taken["id"] in figure and "resume" in figure
        return marks and "live " in figure and HOSTILE not in page

    assert eventually(drawn), "the act, and the snapshot that one can go back to, beside the reward so far"


def test_reward_is_a_line_for_each_arm_and_only_what_lies_in_its_time_is_marked() -> None:
    def sample(second: int, live: float | None) -> dict[str, Any]:
        return {"ready": True, "at_ms": 1_000 * second, "arms": {"live": {"recent": live}, "champion": {}}}

    moments = [
        Moment(position, 1_000 * second, "act", f"{what} {{}}", HOSTILE, "")
        for position, second, what in ((1, 5, "freeze"), (2, 50, "resume"))
    ]
    figure = axis([{"ready": False}, *(sample(n, 0.25 + n / 100 if n > 3 else None) for n in range(20))], moments)
    assert figure.count("<path") == 1 and '<path class="a" d="M' in figure, "no line for an arm without a reward"
    assert "live 0.440, champion no reward yet; 1 marks" in figure
    assert ">freeze</text>" in figure and "resume" not in figure and "<img" not in figure
    assert "after a few seconds" in axis([{"ready": False}], moments)
    assert axis([sample(n, 0.5) for n in range(1_800)], []).count(",") < 400, "few enough points for any page"


def test_items_are_found_by_id_and_by_title_and_nothing_of_theirs_is_markup(busy: Running) -> None:
    assert len(rows(busy, "catalogue")) == 50
    assert rows(busy, "catalogue", q="onerror")[0]["item"] == "i1"
    assert rows(busy, "catalogue", q="i17")[0]["item"] == "i17"
    assert rows(busy, "catalogue", offset="49")[0]["rank"] == 50
    assert HOSTILE not in busy.client.get("/dashboard/catalogue").text


def test_health_is_what_doctor_knows(busy: Running) -> None:
    found = {row["check"]: row for row in rows(busy, "health")}
    assert {"log", "learner", "lag", "disk", "log: appendfsync"} <= set(found)
    assert all(row["cure"] for row in found.values() if not row["found"]["ok"])


def test_a_table_that_nobody_has_is_not_found(busy: Running) -> None:
    for path in ("nonsense.json", "arms.xml", "arms", ".json"):
        assert busy.client.get(f"/dashboard/tables/{path}").status_code == 404


def test_tags_are_read_without_decoding() -> None:
    from api.dashboard.decisions import tag_of

    decision = records.Decision(
        decision_id="d",
        user_id="u",
        at_ms=1,
        received_ms=1,
        read_position=1,
        arm=0,
        n=1,
        item_ids=("i",),
        scores=b"",
        propensities=b"",
        because=b"",
    )
    act = records.Act(act="freeze", reason="", received_ms=1)
    for record, tag in ((decision, b"d1"), (act, b"a1"), (records.Tally(received_ms=1), b"t1")):
        assert tag_of(records.encode(record)) == tag


def test_the_pulse_goes_on_by_itself(busy: Running) -> None:
    with httpx.stream("GET", f"{busy.address['url']}/dashboard/stream", timeout=10.0) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        samples = []
        for line in reply.iter_lines():
            if line:
                samples.append(json.loads(line.removeprefix("data: ")))
            if len(samples) == 2:
                break
    assert samples[0]["at_ms"] < samples[1]["at_ms"] and samples[1]["ready"] is True


def test_who_listens_to_the_pulse_does_not_hold_up_the_end(start_service: Any) -> None:
    running = start_service("home")
    with httpx.stream("GET", f"{running.address['url']}/dashboard/stream", timeout=30.0) as reply:
        next(reply.iter_lines())
        begun = time.monotonic()
        assert running.stop() == 0
    assert time.monotonic() - begun < 8.0, "uvicorn would wait ten seconds for a stream that never ends"


# ---- In a browser
# ---------------------------------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path) -> Iterator[chromium.Page]:
    if chromium.program() is None:
        pytest.skip("no Chromium on PATH: `apt-get install chromium`")
    opened = chromium.Page(tmp_path / "profile")
    yield opened
    opened.close()


def test_every_view_loads_in_a_browser_without_a_word_on_its_console(busy: Running, page: chromium.Page) -> None:
    decision = rows(busy, "decisions")[0]["decision"]
    addresses = [address for address, _ in VIEWS]
    addresses += [f"/dashboard/decision?id={decision}", f"/dashboard/learning?id={decision}", "/docs", "/problems"]
    for width, height, dark in ((1280, 900, False), (390, 844, True)):
        page.emulate(width=width, height=height, dark=dark)
        for address in addresses:
            page.go(busy.address["url"] + address)
            assert page.run("document.querySelector('h1').textContent")
            wide = page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0 or "/dashboard" not in address, f"{address} is wider than a screen of {width}"
            names = page.run(
                "[...document.querySelectorAll('input, select, button, a')].filter(e => e.type !== 'hidden' && "
                "!(e.labels?.length || e.textContent.trim() || e.ariaLabel)).map(e => e.outerHTML)"
            )
            assert names == [] or "/docs" in address, f"{address}: without a name that can be read out"
    assert page.errors == []


def test_what_is_live_moves(busy: Running, page: chromium.Page) -> None:
    page.go(busy.address["url"] + "/")
    received = "+document.querySelector('tbody td').textContent.replaceAll(',', '')"
    page.until("document.querySelector('[data-live=learning]').textContent === 'on'")
    before = page.run(received)
    event = {"event_type": "play", "user_id": "u1", "item_id": "i1"}
    busy.client.post("/v1/events", json={"events": [event] * 7})
    page.until(f"{received} >= {before + 7}", within_s=10.0)
    page.until("document.querySelectorAll('figure svg path').length > 0")
    assert page.errors == []


def test_a_keyboard_is_enough(busy: Running, page: chromium.Page) -> None:
    page.go(busy.address["url"] + "/")
    page.press("Tab")
    assert page.run("document.activeElement.className") == "skip", "the first stop leads to the content"
    page.until("document.querySelectorAll('figure[data-chart=loss] svg, figure[data-chart=rate] svg').length > 0")
    page.run("document.querySelector('figure[data-chart=rate]').focus()")
    reading = "document.querySelector('figure[data-chart=rate] .reading').textContent"
    page.press("Home")
    first = page.run(reading)
    page.press("End")
    assert page.run(reading) != first, "keys move a chart's cursor"

    loaded = page.loaded
    page.press("3")
    page.wait_loaded(loaded)
    assert page.run("location.pathname") == "/dashboard/decisions"
    page.press("/")
    assert page.run("document.activeElement.name") == "id"
    decision = rows(busy, "decisions")[0]["decision"]
    page.type(decision)
    loaded = page.loaded
    page.press("Enter")
    page.wait_loaded(loaded)
    assert page.run("document.querySelector('dd').textContent") == decision
    for _ in range(30):
        if page.run("document.activeElement.dataset.reproduce") is not None:
            break
        page.press("Tab")
    page.press("Enter")
    page.until("document.getElementById('reproduced').textContent.length > 0 && !document.querySelector('[disabled]')")


def test_a_red_state_names_its_cause_and_its_cure(busy: Running, page: chromium.Page) -> None:
    page.go(busy.address["url"] + "/dashboard/decision?id=never-was")
    told = page.run("document.querySelector('[role=alert]').textContent")
    assert "No such decision" in told and "decision_id" in told


def test_people_sign_in_with_a_key_and_leave_again(start_service: Any, tmp_path: Path, page: chromium.Page) -> None:
    _, text = create_key(tmp_path / "home", "ada", ("operate",))
    running = start_service("home")
    page.go(running.address["url"] + "/dashboard/health")
    assert page.run("location.pathname + location.search") == "/login?next=/dashboard/health"
    page.type(text)
    loaded = page.loaded
    page.press("Enter")
    page.wait_loaded(loaded)
    assert page.run("location.pathname") == "/dashboard/health"
    assert page.run("document.cookie") == "", "no script reads the session"
    loaded = page.loaded
    page.run("document.querySelector('header form button').click()")
    page.wait_loaded(loaded)
    assert page.run("location.pathname") == "/login"
    assert page.errors == []


def test_a_rollback_is_seen_confirmed_by_typing_and_undone(start_service: Any, page: chromium.Page) -> None:
    running = start_service("home")
    running.fill(items=20, users=5)
    made = running.client.post("/v1/snapshots", json={"label": "before"}).json()
    event = {"event_type": "play", "user_id": "bot", "item_id": "i3"}
    last = running.client.post("/v1/events", json={"events": [event] * 50}).json()["position"]
    assert eventually(lambda: running.client.get("/v1/state").json()["position"] >= last)
    digest = running.client.get("/v1/state").json()["digest"]

    page.go(running.address["url"] + "/dashboard/timeline")
    loaded = page.loaded
    page.run(f"[...document.querySelectorAll('td a')].find(a => a.textContent.includes('{made['id']}')).click()")
    page.wait_loaded(loaded)
    page.until("!document.getElementById('confirm').hidden", within_s=120.0)
    assert "50" in page.run("document.getElementById('preview').textContent")
    assert running.client.get("/v1/state").json()["digest"] == digest, "a preview changes nothing"

    button = "document.querySelector('#confirm button')"
    page.run("document.querySelector('#confirm [name=reason]').focus()")
    page.type("a bot")
    page.press("Tab")
    page.type("roll")
    assert page.run(f"{button}.disabled")
    page.type(" back")
    page.press("Enter")
    page.until("document.getElementById('rolled').textContent.startsWith('Done')", within_s=120.0)
    assert running.client.get("/v1/state").json()["digest"] == made["state_digest"]

    loaded = page.loaded
    page.run("document.querySelector('#rolled a').click()")
    page.wait_loaded(loaded)
    page.until("!document.getElementById('confirm').hidden", within_s=120.0)
    page.run("document.querySelector('#confirm [name=reason]').focus()")
    page.type("it was no bot")
    page.press("Tab")
    page.type("roll back")
    page.press("Enter")
    page.until("document.getElementById('rolled').textContent.startsWith('Done')", within_s=120.0)
    assert running.client.get("/v1/state").json()["digest"] == digest
    assert page.errors == []


def test_learning_is_frozen_in_two_steps(busy: Running, page: chromium.Page) -> None:
    page.go(busy.address["url"] + "/dashboard/operate")
    for act, state in (("freeze", "frozen"), ("resume", "on")):
        page.run("document.querySelector('[data-act] input').focus()")
        page.type("a test")
        page.press("Enter")
        page.until(f"document.getElementById('acted').textContent.startsWith('{act}')")
        assert eventually(lambda state=state: busy.client.get("/v1/state").json()["learning"] == state)
        page.go(busy.address["url"] + "/dashboard/operate")
    assert page.errors == []
