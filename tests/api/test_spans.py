"""Traces: a service that is told where to send them sends request, decide and append; any other imports nothing."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from api.spans import open_spans, wanted
from tests.api.conftest import ROOT, eventually

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(ThreadingHTTPServer):
    """What listens on loopback for OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Any] = []
        self.services: set[str] = set()


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in sent.resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.server.services.add(named["service.name"])
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        return


@pytest.fixture
def collector() -> Iterator[Collector]:
    listening = Collector()
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield listening
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_a_service_sends_request_decide_and_append_in_the_callers_trace(
    collector: Collector, start_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    service = start_service("home")
    service.client.put("/v1/items/i1", json={"title": "One"})
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "mine-17"}
    slate = service.client.post("/v1/recommendations", json={"user_id": "u"}, headers=headers)
    assert slate.status_code == 201
    assert service.client.get(f"/v1/decisions/{slate.json()['decision_id']}", headers=headers).status_code == 200

    def traced() -> dict[str, Any]:
        return {span.name: span for span in collector.spans if span.trace_id.hex() == TRACE}

    assert eventually(lambda: len(traced()) == 4), sorted(traced())
    request, decide, append = (traced()[name] for name in ("POST /v1/recommendations", "decide", "append"))
    assert request.parent_span_id.hex() == PARENT
    assert decide.parent_span_id == append.parent_span_id == request.span_id
    told = {one.key: one.value.string_value or one.value.int_value for one in request.attributes}
    assert told["http.response.status_code"] == 201 and told["perennial.request_id"] == "mine-17"
    told = {one.key: one.value.string_value for one in decide.attributes}
    assert told["perennial.decision_id"] == slate.json()["decision_id"]
    assert traced()["GET /v1/decisions/*"].parent_span_id.hex() == PARENT, "no id is part of a span's name"
    for span in (decide, append):
        assert request.start_time_unix_nano <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= request.end_time_unix_nano
    service.client.get("/livez")
    assert service.stop() == 0
    assert "GET /livez" in {span.name for span in collector.spans}, "what was still kept is sent at the end"
    assert collector.services == {"perennial"}


def test_a_collector_that_is_away_holds_up_nobody(start_service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    service = start_service("home")
    for number in range(20):
        assert service.client.post("/v1/recommendations", json={"user_id": f"u{number}"}).status_code == 201


def test_without_the_variables_nothing_is_imported_and_nothing_wrapped() -> None:
    assert open_spans({}) is None
    assert not wanted({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"})
    program = (
        "import sys\nfrom pathlib import Path\nfrom api.app import create_app\n"
        "from api.settings import ServiceSettings\n"
        "from api.spans import open_spans\nassert open_spans({}) is None\n"
        "app = create_app(ServiceSettings(home=Path('x'), log_url='redis://127.0.0.1:1'), open_spans({}))\n"
        "from online.live import LiveModel\nfrom online.log import LogWriter\n"
        "assert type(app).__name__ == 'Edge' and type(app._service.writer) is LogWriter\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.exporter')])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout.strip()) == (0, "[]"), said.stderr


def test_where_the_sdk_is_not_installed_the_service_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in [one for one in sys.modules if one.startswith("opentelemetry.exporter")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)  # as where only the API is installed
    assert open_spans({"OTEL_TRACES_EXPORTER": "otlp"}) is None
    assert "perennial[otel]" in "".join(capsys.readouterr())
