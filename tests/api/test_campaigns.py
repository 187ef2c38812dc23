"""Who reports as nobody else does is named, others are not, and life without them is one link away."""

import json
import random
import re
from collections.abc import Callable, Iterator
from html import unescape

import pytest

from api.campaigns import campaigns
from online.pricing.records import BOOKED, DECLINED, Cancellation, Quote, QuoteOutcome
from online.records import Decision, Event, Record
from online.settings import Settings
from tests.api.conftest import Running, eventually

USERS, LIARS = 200, 10


def viewers(mode: str, seed: int) -> Iterator[Record]:
    """Slates and what became of them; the first LIARS of the users lie, in that mode."""
    chance = random.Random(seed)
    for number in range(1_000):
        user, lies = f"u{number % USERS}", number % USERS < LIARS and mode != "clean"
        items = chance.sample(range(100), 10)
        yield Decision(
            decision_id=f"d{number}",
            user_id=user,
            at_ms=number,
            received_ms=number,
            read_position=1,
            arm=0,
            n=10,
            item_ids=tuple(f"i{item}" for item in items),
            scores=b"",
            propensities=b"",
            because=b"",
        )
        taken = [item for item in items if chance.random() < 0.02 + item / 400]
        if lies and mode == "flip":
            taken = [item for item in items if item not in taken]
        told = [(f"i{item}", f"d{number}") for item in taken]
        if lies and mode == "spam":
            told = [(f"i{chance.randrange(100)}", None) for _ in range(50)]
        if lies and mode == "targeted":
            told = [("i7", None)] * 10
        for k, (item, decision) in enumerate(told):
            yield Event(f"e{number}-{k}", "watch", user, item, number, number, value=0.9, decision_id=decision)


@pytest.mark.parametrize(
    ("mode", "how"), [("flip", "against everybody"), ("spam", "many reports"), ("targeted", "one item")]
)
@pytest.mark.parametrize("seed", range(5))
def test_all_who_lie_are_named_and_nobody_else(mode: str, how: str, seed: int) -> None:
    (found,) = campaigns(viewers(mode, seed), Settings())
    assert (found.how, found.subject) == (how, "i7" if mode == "targeted" else "")
    assert set(found.names) == {f"u{number}" for number in range(LIARS)}


@pytest.mark.parametrize("seed", range(10))
def test_where_nobody_lies_nobody_is_named(seed: int) -> None:
    assert campaigns(viewers("clean", seed), Settings()) == []
    assert campaigns(travellers("clean", seed), Settings()) == []
    assert campaigns([], Settings()) == []


def travellers(mode: str, seed: int) -> Iterator[Record]:
    """Quotes of twenty clients; the last one lies."""
    chance = random.Random(seed)
    for number in range(2_000):
        client = f"agency-{number % 20}"
        lies = number % 20 == 19 and mode != "clean"
        for k in range(20 if lies and mode == "spam" else 1):
            quote, flight = f"q{number}-{k}", "f7" if lies and mode == "targeted" else f"f{number % 40}"
            yield Quote(quote, flight, number, number, 1, 9_900, number + 1, client=client)
            books = chance.random() < 0.2
            if lies:
                books = mode == "flip" and not books
            yield QuoteOutcome(quote, flight, BOOKED if books else DECLINED, number, number, client)
            if books and (lies or chance.random() < 0.02):
                yield Cancellation(quote, flight, number, number, client)


@pytest.mark.parametrize("mode", ["flip", "spam", "targeted"])
@pytest.mark.parametrize("seed", range(5))
def test_a_client_whose_travellers_are_unlike_others_is_named(mode: str, seed: int) -> None:
    (found,) = campaigns(travellers(mode, seed), Settings())
    assert (found.who, found.names) == ("clients", ("agency-19",))
    assert found.subject == ("f7" if mode == "targeted" else "")


def test_a_campaign_is_named_on_the_dashboard_and_undone_to_the_digest_before_it(
    start_service: Callable[..., Running],
) -> None:
    service = start_service()
    service.fill(items=30, users=40)
    client = service.client
    assert eventually(
        lambda: client.get("/v1/state").json()["learned_position"] >= client.get("/v1/state").json()["log_head"]
    )
    assert client.get("/dashboard/tables/campaigns.json").json() == []
    clean = client.get("/v1/state").json()["digest"]
    liars = ["bot <1>", "bot 2", "bot,3"]
    for name in liars:
        events = [{"event_type": "like", "user_id": name, "item_id": "i7"}] * 40
        position = client.post("/v1/events", json={"events": events}).json()["position"]
    assert eventually(lambda: client.get("/v1/state").json()["position"] >= position)
    assert client.get("/v1/state").json()["digest"] != clean

    (row,) = client.get("/dashboard/tables/campaigns.json").json()
    assert (row["how"]["found"], row["about"], row["reports"]) == ("one item", "i7", 120)
    assert all(name in row["who"] for name in liars)
    page = client.get("/dashboard/health").text
    (link,) = re.findall(r'href="(/dashboard/operate\?[^"]*)"', page)
    preview = client.get(unescape(link)).text
    asked = json.loads(unescape(re.findall(r'data-asked="([^"]*)"', preview)[0]))
    assert sorted(asked["without"]["users"]) == sorted(liars)
    assert "<1>" not in page + preview
    done = client.post("/v1/rollbacks", json={**asked, "reason": "a campaign"}, timeout=120.0)
    assert done.status_code == 200 and done.json()["removed"] == 120
    assert eventually(lambda: client.get("/v1/state").json()["digest"] == clean)
