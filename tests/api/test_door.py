"""The door: who may ask what. Every address has a scope, every other principal is refused, nothing is guessed."""

import time
from pathlib import Path
from typing import Any, get_args

import pytest
from starlette.routing import Route

from api import door as doors
from api.app import create_app
from api.door import COOKIE, Door, Principal
from api.keys import PASS_S, create_key, keys_file, owners_pass, revoke_key
from api.problems import Problem
from api.schemas_fares import AnyAct
from api.scopes import ACTS, RULES, SCOPES, Rule, rule_of, scope_of, scope_of_act
from api.settings import ServiceSettings, read_secret
from tests.api.conftest import eventually
from tests.api.test_command import perennial

HERE = {b"host": b"127.0.0.1:8080"}


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(doors, "_LOOK_EVERY_S", 0.0)
    return Clock()


def door_of(home: Path, clock: Clock, *, required: bool = False) -> Door:
    return Door(home, secret=b"s" * 32, required=required, clock=clock)


def code_of(door: Door, method: str, path: str, headers: dict[bytes, bytes], peer: str = "9.9.9.9") -> str:
    """ "" where the request is let in, else the problem's code."""
    try:
        door.admit(method, path, headers, peer)
    except Problem as problem:
        return problem.kind.code
    return ""


def bearer(text: str) -> dict[bytes, bytes]:
    return {**HERE, b"authorization": b"Bearer " + text.encode()}


def operations(home: Path) -> list[tuple[str, str]]:
    """(method, address) of every route, with plausible ids in place of parameters."""
    edge: Any = create_app(ServiceSettings(home=home, log_url="redis://127.0.0.1:1"))
    found = []
    for route in edge._app.routes:
        assert isinstance(route, Route)
        path = "".join("x" if part.startswith("{") else part for part in _parts(route.path))
        found += [(method, path) for method in sorted(route.methods or ()) if method != "HEAD"]
    return found


def _parts(path: str) -> list[str]:
    return [piece for chunk in path.split("{") for piece in _split(chunk)]


def _split(chunk: str) -> list[str]:
    head, closed, tail = chunk.partition("}")
    return ["{" + head, tail] if closed else [head]


def test_every_route_has_a_rule_of_its_own(tmp_path: Path) -> None:
    undeclared = [one for one in operations(tmp_path) if rule_of(*one) is None]
    assert undeclared == [], "write a rule for it in api/scopes.py"


def test_every_operation_is_open_only_to_keys_with_its_scope(tmp_path: Path, clock: Clock) -> None:
    texts = {scope: create_key(tmp_path, scope, (scope,))[1] for scope in SCOPES}
    texts["revoked"] = create_key(tmp_path, "revoked", ("admin",))[1]
    revoke_key(tmp_path, "revoked")
    door = door_of(tmp_path, clock)
    for number, (method, path) in enumerate(operations(tmp_path)):
        needed, peer = scope_of(method, path), f"10.0.0.{number}"
        assert code_of(door, method, path, HERE) == ("" if needed is None else "key_missing"), (method, path)
        for scope in SCOPES:
            allowed = needed in (None, scope) or scope == "admin"
            assert (code_of(door, method, path, bearer(texts[scope]), peer) == "") == allowed, (method, path, scope)
        assert code_of(door, method, path, bearer(texts["revoked"]), peer) == "key_unknown"
        assert code_of(door, method, path, bearer("perennial_00000000_" + "A" * 43), peer) == "key_unknown"
        assert code_of(door, method, path, {**HERE, b"authorization": b"Basic YTpi"}, peer) == "key_missing"


@pytest.mark.parametrize(
    "path",
    [
        "//v1/events",
        "/v1/events/",
        "/v1/EVENTS",
        "/v1/./events",
        "/V1/state",
        "/v1/state/..",
        "/livez/",
        "/docs/x",
        "*",
    ],
)
def test_an_address_that_nobody_has_declared_needs_admin(path: str) -> None:
    assert scope_of("POST", path) == scope_of("GET", path) == scope_of("PURGE", path) == "admin"


def test_no_rule_is_hidden_behind_another() -> None:
    shown = {
        rule_of(method, rule.start + ("x" + rule.end if rule.end is not None else ""))
        for rule in RULES
        for method in rule.methods.split()
    }
    assert shown == set(RULES)
    assert all(isinstance(rule, Rule) for rule in RULES)


def test_a_record_carries_the_name_of_the_key(tmp_path: Path, clock: Clock) -> None:
    key, text = create_key(tmp_path, "shop", ("decide",))
    found = door_of(tmp_path, clock).admit("POST", "/v1/recommendations", bearer(text), "9.9.9.9")
    assert found == Principal("shop", ("decide",), key.id)


def test_a_revoked_key_and_its_sessions_are_refused_at_once(tmp_path: Path, clock: Clock) -> None:
    _, text = create_key(tmp_path, "ops", ("operate",))
    door = door_of(tmp_path, clock)
    cookie = {**HERE, b"cookie": f"a=b; {COOKIE}={door.open_session(text, '9.9.9.9')}".encode()}
    assert code_of(door, "GET", "/", cookie) == code_of(door, "GET", "/v1/state", bearer(text)) == ""
    revoke_key(tmp_path, "ops")
    assert code_of(door, "GET", "/", cookie) == "key_missing"
    assert code_of(door, "GET", "/v1/state", bearer(text)) == "key_unknown"


def test_a_session_ends_and_cannot_be_forged(tmp_path: Path, clock: Clock) -> None:
    key, text = create_key(tmp_path, "ops", ("operate",))
    door = door_of(tmp_path, clock)
    value = door.open_session(text, "9.9.9.9")
    later = int(value.split(".")[1]) + 3600
    forged = [
        "",
        "x",
        value[:-1] + ("0" if value[-1] != "0" else "1"),
        f"{key.id}.{later}.{value.split('.')[2]}",
        f"{key.id}.{'9' * 40}.x",
        "é.1.2",
    ]
    for one in forged:
        assert code_of(door, "GET", "/", {**HERE, b"cookie": f"{COOKIE}={one}".encode()}) == "key_missing"
    clock.now += doors.SESSION_S + 1
    assert code_of(door, "GET", "/", {**HERE, b"cookie": f"{COOKIE}={value}".encode()}) == "key_missing"


def test_a_session_changes_nothing_for_a_page_of_another_site(tmp_path: Path, clock: Clock) -> None:
    _, text = create_key(tmp_path, "ops", ("operate",))
    door = door_of(tmp_path, clock)
    cookie = {**HERE, b"cookie": f"{COOKIE}={door.open_session(text, '9.9.9.9')}".encode()}
    assert code_of(door, "POST", "/v1/acts", {**cookie, b"origin": b"http://127.0.0.1:8080"}) == ""
    assert code_of(door, "POST", "/v1/acts", {**cookie, b"origin": b"http://evil.example"}) == "origin_foreign"
    assert code_of(door, "POST", "/v1/acts", {**cookie, b"origin": b"null"}) == "origin_foreign"
    assert code_of(door, "POST", "/v1/acts", {**cookie, b"sec-fetch-site": b"cross-site"}) == "origin_foreign"


def test_a_key_that_only_decides_opens_no_session(tmp_path: Path, clock: Clock) -> None:
    _, text = create_key(tmp_path, "shop", ("decide",))
    with pytest.raises(Problem, match="scope_missing"):
        door_of(tmp_path, clock).open_session(text, "9.9.9.9")


def test_guessing_is_answered_with_429_and_valid_keys_still_count(tmp_path: Path, clock: Clock) -> None:
    _, text = create_key(tmp_path, "shop", ("decide",))
    door = door_of(tmp_path, clock)
    codes = [code_of(door, "GET", "/v1/state", bearer(f"guess {n}")) for n in range(12)]
    assert codes == ["key_unknown"] * 10 + ["too_many_guesses"] * 2
    assert code_of(door, "POST", "/v1/recommendations", bearer(text)) == ""
    assert code_of(door, "GET", "/v1/state", bearer("guess"), "8.8.8.8") == "key_unknown"
    clock.now += 61
    assert code_of(door, "GET", "/v1/state", bearer("guess")) == "key_unknown"


def test_without_keys_this_machine_may_do_everything_and_pages_of_other_sites_nothing(
    tmp_path: Path, clock: Clock
) -> None:
    door = door_of(tmp_path, clock)
    for host in (b"127.0.0.1:8080", b"localhost:1", b"[::1]:8080", b"127.9.9.9"):
        assert code_of(door, "POST", "/v1/events", {b"host": host}) == ""
    for host in (
        b"evil.example",
        b"127.evil.example",
        b"localhost.evil.example",
        b"10.0.0.1:8080",
        b"[::2]",
        b"[",
        b"",
    ):
        assert code_of(door, "GET", "/v1/state", {b"host": host}) == "host_foreign", host
    assert code_of(door, "POST", "/v1/events", {**HERE, b"origin": b"http://evil.example"}) == "origin_foreign"


def test_other_machines_need_a_key_even_where_there_is_none(tmp_path: Path, clock: Clock) -> None:
    door = door_of(tmp_path, clock, required=True)
    assert code_of(door, "GET", "/v1/state", HERE) == "key_missing"


def test_a_file_of_keys_that_is_spoilt_or_removed_lets_nobody_in(tmp_path: Path, clock: Clock) -> None:
    _, text = create_key(tmp_path, "ops", ("operate",))
    door = door_of(tmp_path, clock)
    assert code_of(door, "GET", "/v1/state", bearer(text)) == ""
    keys_file(tmp_path).write_text("{")
    assert code_of(door, "GET", "/v1/state", bearer(text)) == "key_unknown"
    keys_file(tmp_path).unlink()
    assert code_of(door, "GET", "/v1/state", HERE) == "key_missing"


@pytest.fixture
def locked(start_service: Any, tmp_path: Path) -> Any:
    """A running service with a key of each scope: (service, texts by scope)."""
    texts = {scope: create_key(tmp_path / "home", f"{scope}-client", (scope,))[1] for scope in SCOPES}
    return start_service("home"), texts


def test_every_act_is_weighed() -> None:
    """A new act without a scope of its own would ask for `admin` without anybody having said so."""
    acts = {kind.__struct_config__.tag for kind in get_args(AnyAct)}
    assert set(ACTS) == acts
    assert {act for act in acts if scope_of_act(act) == "admin"} == {"promote", "erase"}, "what rewrites the past"
    assert scope_of("POST", "/v1/rollbacks") == "admin"


def test_a_running_service_with_keys(locked: Any) -> None:
    service, texts = locked
    headers = {scope: {"Authorization": f"Bearer {text}"} for scope, text in texts.items()}
    client = service.client
    assert client.get("/readyz").status_code == 200
    refused = client.post("/v1/recommendations", json={"user_id": "u1"})
    assert (refused.status_code, refused.json()["code"]) == (401, "key_missing")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert refused.headers["content-type"] == "application/problem+json"
    refused = client.get("/v1/state", headers=headers["decide"])
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")

    item = client.put("/v1/items/i1", json={"title": "One"}, headers=headers["operate"])
    assert item.status_code == 200, item.text
    same = {"Idempotency-Key": "one"}
    answered = client.post("/v1/recommendations", json={"user_id": "u1"}, headers=headers["decide"] | same)
    assert answered.status_code == 201, answered.text
    again = client.post("/v1/recommendations", json={"user_id": "u1"}, headers=headers["decide"] | same)
    assert again.json()["decision_id"] == answered.json()["decision_id"]
    other = client.post("/v1/recommendations", json={"user_id": "u2"}, headers=headers["admin"] | same)
    assert other.status_code == 201, "another client's idempotency keys are its own"
    assert other.json()["decision_id"] != answered.json()["decision_id"]

    for name, told in (("erase", {"user_id": "u1"}), ("promote", {"artifact": "none"})):
        body = {"act": name, "reason": "a test", "dry_run": True, **told}
        refused = client.post("/v1/acts", json=body, headers=headers["operate"])
        assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing"), name
        assert "`admin`" in refused.json()["detail"]
        allowed = client.post("/v1/acts", json=body, headers=headers["admin"])
        assert allowed.status_code == (200 if name == "erase" else 409), allowed.text
    back = {"to": {"position": 1}, "dry_run": True}
    assert client.post("/v1/rollbacks", json=back, headers=headers["operate"]).status_code == 403
    for name in ("freeze", "resume"):
        body = {"act": name, "reason": "a test"}
        assert client.post("/v1/acts", json=body, headers=headers["operate"]).status_code == 200, name

    read = client.get(f"/v1/decisions/{answered.json()['decision_id']}", headers=headers["operate"])
    assert read.json()["client"] == "decide-client"

    page = client.get("/", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/login?next=/")
    wrong = client.post("/login", content="key=nonsense")
    assert wrong.status_code == 401 and "nonsense" not in wrong.text
    signed = client.post("/login", content=f"key={texts['operate']}&next=//evil.example")
    assert (signed.status_code, signed.headers["location"]) == (303, "/")
    cookie = signed.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert client.get("/v1/state").status_code == 200, "the session's cookie"
    client.cookies.clear()

    begun = time.monotonic()
    revoke_key(service.home, "operate-client")
    while client.get("/v1/state", headers=headers["operate"]).status_code == 200:
        assert time.monotonic() - begun < 1.0
    text = keys_file(service.home).read_text() + service.said()
    assert not any(secret in text for secret in texts.values())


def test_who_can_read_the_homes_secret_is_its_owner_for_a_minute(tmp_path: Path, clock: Clock) -> None:
    create_key(tmp_path, "ops", ("operate",))
    assert owners_pass(tmp_path) is None, "no service has run here yet"
    door = Door(tmp_path, secret=read_secret(tmp_path), clock=clock)
    text = owners_pass(tmp_path, now_s=clock.now)
    assert text is not None
    assert code_of(door, "POST", "/v1/rollbacks", bearer(text)) == ""
    assert (
        code_of(door, "POST", "/v1/rollbacks", bearer(text[:-1] + ("0" if text[-1] != "0" else "1"))) == "key_unknown"
    )
    far = owners_pass(tmp_path, now_s=clock.now + 10 * PASS_S)
    assert code_of(door, "POST", "/v1/rollbacks", bearer(far or "")) == "key_unknown", "none is good for longer"
    clock.now += PASS_S + 1
    assert code_of(door, "POST", "/v1/rollbacks", bearer(text)) == "key_unknown"


def test_the_owners_commands_need_no_key(locked: Any) -> None:
    service, texts = locked
    frozen = perennial("freeze", "--home", str(service.home), "--reason", "a test", "--json")
    assert frozen.returncode == 0, frozen.stderr
    asked = {"Authorization": f"Bearer {texts['operate']}"}
    assert eventually(lambda: service.client.get("/v1/state", headers=asked).json()["learning"] == "frozen")
