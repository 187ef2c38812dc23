"""POST /v1/acts against a real service: in force from its place in the log, and folded once."""

from collections.abc import Callable
from typing import Any

import httpx

from tests.api.conftest import Running, eventually


def act(service: Running, key: str | None = None, **fields: Any) -> httpx.Response:
    return service.client.post("/v1/acts", json=fields, headers={"Idempotency-Key": key} if key else None)


def learning(service: Running, position: int) -> str:
    assert eventually(lambda: service.client.get("/v1/state").json()["learned_position"] >= position)
    state: str = service.client.get("/v1/state").json()["learning"]
    return state


def test_an_act_is_in_force_from_its_place_on_and_its_repetition_changes_nothing(
    start_service: Callable[..., Running],
) -> None:
    service = start_service("home", "--workers", "2")
    frozen = act(service, "night", act="freeze", reason="bad feed", author="ada")
    assert frozen.status_code == 200, frozen.text
    assert set(frozen.json()) == {"act_id", "act", "position"}
    assert learning(service, frozen.json()["position"]) == "frozen"

    resumed = act(service, "morning", act="resume", reason="feed repaired", author="ada")
    assert learning(service, resumed.json()["position"]) == "on"

    for _ in range(8):  # whichever worker answers: the freeze of the night comes once
        with httpx.Client(base_url=service.address["url"]) as client:
            body = {"act": "freeze", "reason": "bad feed", "author": "ada"}
            again = client.post("/v1/acts", json=body, headers={"Idempotency-Key": "night"})
        assert again.json()["act_id"] == frozen.json()["act_id"]
    assert learning(service, again.json()["position"]) == "on"

    for body, pointer in (
        ({"act": "freeze"}, "/reason"),
        ({"act": "freeze", "reason": ""}, "/reason"),
        ({"act": "melt", "reason": "r"}, "/act"),
        ({"act": "freeze", "reason": "r", "why": "r"}, ""),
        ({"act": "freeze", "reason": "a\nb"}, "/reason"),
    ):
        refused = service.client.post("/v1/acts", json=body)
        assert refused.status_code == 422, refused.text
        assert refused.json()["errors"][0]["pointer"] == pointer
