"""What nobody should send, sent to every operation: refused by a problem, at once, without a defect, without growth."""

import os
import re
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.keys import create_key, revoke_key
from api.scopes import SCOPES
from tests.api.conftest import Running
from tests.api.test_service import PROBLEM, SLATE_BODIES

EXAMPLES = int(os.environ.get("PERENNIAL_SCHEMA_EXAMPLES", "5"))
# What a schema cannot say (an id has no control characters; an Idempotency-Key stands for one body), and what is tested
# below by ourselves, because guesses are answered with 429.
NOT_CHECKED = "positive_data_acceptance,ignored_auth"


def operations(service: Running, headers: dict[str, str] | None = None) -> list[tuple[str, str, dict[str, Any]]]:
    """(method, address with plausible ids, what the document says) of every operation."""
    document = service.client.get("/openapi.json", headers=headers).json()
    return [
        (method.upper(), re.sub(r"\{[^}]*\}", "x", path), described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]


def memory_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]


BODIES = {
    **{name: body for name, (body, _, _) in SLATE_BODIES.items()},
    "a zip bomb": zlib.compress(b"[" * 10_000_000),
    "numbers beyond any": b'{"a":' + b"9" * 5_000 + b',"b":1e308,"c":-0.0,"d":5e-324}',
    "10,000 fields": b"{" + b",".join(b'"k%d":1' % n for n in range(10_000)) + b"}",
    "a million elements": b'{"events":[' + b"0," * 999_999 + b"0]}",
    "directions and zero widths": '{"user_id":"a\u202eb\u200bc\u0000"}'.encode(),
}


def test_no_operation_answers_a_hostile_body_with_a_defect_or_grows(service: Running) -> None:
    taking = [(method, path) for method, path, described in operations(service) if "requestBody" in described]
    assert len(taking) >= 10
    workers = [pid for pid, command in service.children().items() if "api.worker" in command]
    kind = {"content-type": "application/json"}
    for turn in range(2):
        if turn == 1:
            before = {pid: memory_kb(pid) for pid in workers}
        for method, path in taking:
            for name, body in BODIES.items():
                began = time.monotonic()
                reply = service.client.request(method, path, content=body, headers=kind)
                if body == b"{}" and reply.is_success:
                    continue  # nothing more is needed there
                assert 400 <= reply.status_code < 500, (method, path, name, reply.text[:300])
                assert reply.headers["content-type"] == PROBLEM, (method, path, name)
                assert time.monotonic() - began < 5.0, (method, path, name)
    grown = {pid: memory_kb(pid) - before[pid] for pid in workers}
    assert all(kb < 20_000 for kb in grown.values()), grown
    assert service.client.get("/readyz").status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity"])
def test_nothing_is_ever_unpacked(service: Running, encoding: str) -> None:
    bomb = zlib.compressobj(wbits=31)
    body = bomb.compress(b"[" * 50_000_000) + bomb.flush()
    headers = {"content-type": "application/json", "content-encoding": encoding}
    for method, path, described in operations(service):
        if "requestBody" in described:
            assert service.client.request(method, path, content=body, headers=headers).status_code == 415


def test_an_address_names_all_of_its_methods(service: Running) -> None:
    for path, allowed in (
        ("/v1/snapshots", "GET, POST"),
        ("/v1/acts", "GET, POST"),
        ("/v1/decisions/x/reproduce", "POST"),
        ("/v1/decisions/x", "GET"),
    ):
        assert service.client.delete(path).headers["allow"] == allowed
    repeated = {"Idempotency-Key": "hostile", "X-Min-Position": "0"}
    assert service.client.post("/v1/recommendations", json={"user_id": "u"}, headers=repeated).status_code == 201
    repeated["X-Min-Position"] = "-1"
    reply = service.client.post("/v1/recommendations", json={"user_id": "u"}, headers=repeated)
    assert reply.json()["code"] == "header_invalid"


LYING: dict[str, bytes] = {
    "more announced than sent": b"content-length: 100\r\n\r\n{}",
    "less announced than sent": b'content-length: 2\r\n\r\n{}{"user_id":"smuggled"}',
    "two lengths": b'content-length: 2\r\ncontent-length: 17\r\n\r\n{"user_id":"u"}  ',
    "a length and chunks": b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"content-length: -1\r\n\r\n{}",
    "a length with a sign": b"content-length: +2\r\n\r\n{}",
    "a length in hex": b"content-length: 0x2\r\n\r\n{}",
    "a length beyond 64 bits": b"content-length: 99999999999999999999999\r\n\r\n{}",
    "a chunk that lies": b"transfer-encoding: chunked\r\n\r\nff\r\n{}\r\n0\r\n\r\n",
    "a chunk without a number": b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "an endless chunk header": b"transfer-encoding: chunked\r\n\r\n" + b"f" * 100_000,
    "an unknown coding": b"transfer-encoding: gzip\r\n\r\n{}",
    "a header that is folded": b"x-a: 1\r\n folded: yes\r\ncontent-length: 2\r\n\r\n{}",
    "a NUL in a header": b"x-a: \x00\r\ncontent-length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("name", LYING)
def test_who_lies_about_the_length_gets_nothing_through(service: Running, name: str) -> None:
    host, port = service.address["url"].removeprefix("http://").split(":")
    decided = service.client.get("/v1/state").json()["decisions"]
    with socket.create_connection((host, int(port)), timeout=30.0) as connection:
        head = b"POST /v1/recommendations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        connection.sendall(head + LYING[name])
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while part := connection.recv(65_536):
            got += part
    statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", got)
    assert all(400 <= int(status) < 500 for status in statuses), got[:300]
    assert service.client.get("/v1/state").json()["decisions"] == decided


@pytest.mark.slow
@pytest.mark.parametrize("keys", [False, True], ids=["without keys", "with keys"])
def test_every_answer_to_made_up_requests_is_one_that_the_document_knows(
    start_service: Callable[..., Running], tmp_path: Path, keys: bool
) -> None:
    """schemathesis: examples, coverage, fuzzing, sequences, over the whole document. `make schema` is the long form."""
    extra = ["-H", f"Authorization: Bearer {create_key(tmp_path / 'home', 'fuzz', ('admin',))[1]}"] if keys else []
    service = start_service("home", "--workers", "2")
    (tmp_path / "schemathesis.toml").write_text(
        '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", "503"]\n'
        "[generation]\nallow-extra-parameters = false\n"  # headers that nobody knows are nobody's business
        '[[operations]]\ninclude-name = "POST /v1/events"\n'  # where a bad event rejects itself, not the batch
        "[operations.checks]\nnegative_data_rejection.enabled = false\n"
    )
    program = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.address['url']}/openapi.json"]
    program += ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(EXAMPLES), "--no-color"]
    program += ["--generation-deterministic", "--request-timeout", "60"]
    # Without keys nobody is asked for the one that the document says goes along.
    program += [
        "--exclude-checks",
        NOT_CHECKED + ("" if keys else ",missing_required_header,negative_data_rejection"),
        *extra,
    ]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=7_200, check=False)
    generated = re.search(r"(\d+) generated", done.stdout)
    assert done.returncode == 0, done.stdout[-6_000:]
    assert generated is not None and int(generated[1]) > 100
    print(generated[0])
    counted = service.client.get("/metrics", headers=dict([extra[1].split(": ")]) if keys else None).text
    assert not re.search(r'perennial_http_requests_total\{[^}]*status="500"', counted)


def test_every_operation_is_closed_to_every_other_principal(
    start_service: Callable[..., Running], tmp_path: Path
) -> None:
    """The document says which scope each operation needs; nobody without it gets past the door, however spelled."""
    texts = {scope: create_key(tmp_path / "home", scope, (scope,))[1] for scope in SCOPES}
    texts["revoked"] = create_key(tmp_path / "home", "revoked", ("admin",))[1]
    revoke_key(tmp_path / "home", "revoked")
    service = start_service("home")
    asked = 0

    def ask(method: str, path: str, headers: dict[str, str]) -> httpx.Response:
        nonlocal asked
        asked += 1
        return service.client.request(method, path, headers=headers, content=b"{}")

    for method, path, described in operations(service):
        scopes = [scope for one in described["security"] for scope in one["key"]]
        for scope in SCOPES:
            reply = ask(method, path, {"Authorization": f"Bearer {texts[scope]}"})
            allowed = not scopes or scope in scopes or scope == "admin"
            refused = reply.status_code == 403 and reply.json()["code"] == "scope_missing"
            assert refused != allowed, (method, path, scope, reply.text[:200])
        if not scopes:
            continue
        for headers in (
            {},
            {"Authorization": f"Basic {texts['admin']}"},
            {"Authorization": texts["admin"]},
            {"Cookie": f"perennial_session={texts['admin']}"},
            {"X-Api-Key": texts["admin"]},
            {"X-HTTP-Method-Override": "GET", "X-Original-URL": "/livez"},
        ):
            assert ask(method, path, headers).status_code == 401, (method, path, headers)
        assert ask(method, f"{path}?key={texts['admin']}", {}).status_code == 401, "a key in an address opens nothing"
        for wrong in (texts["revoked"], texts["admin"][:-1], texts["admin"] + "x", "perennial_00000000_" + "A" * 43):
            reply = ask(method, path, {"Authorization": f"Bearer {wrong}"})
            assert reply.status_code in (401, 429), (method, path)
        for spelled in (
            f"/{path}",
            f"{path}/",
            path.upper(),
            path.replace("/v1", "/v1/."),
            path.replace("v1", "%76%31"),
        ):
            reply = ask(method, spelled, {"Authorization": f"Bearer {texts['decide']}"})
            if "decide" not in scopes:
                assert reply.status_code in (403, 404), (method, spelled, reply.status_code)
    assert asked > 300
