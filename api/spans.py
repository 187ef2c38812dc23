"""Traces by OpenTelemetry, where its SDK is installed and its own variables say where to: request, decide, append.

Without them no exporter is imported and no call is wrapped: a service that traces runs other classes, so one that does
not pays nothing. Endpoint, headers, sampler, batches and the service's name are the SDK's own variables
(`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`, `OTEL_SERVICE_NAME`). A `traceparent` is taken on.
"""

import asyncio
import importlib.util
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from api.scopes import rule_of
from online.live import LiveModel
from online.log import Claim, LogError, LogWriter
from online.pricing.live import LivePricing
from online.pricing.quote import Fare
from online.pricing.records import Quote
from online.records import Decision

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SCOPE = "perennial"
_CLOSE_S = 3.0
_Message = MutableMapping[str, Any]
_App = Callable[[_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]]

log = structlog.get_logger("perennial.spans")


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces.

    >>> wanted({}), wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"})
    (False, True)
    >>> wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_SDK_DISABLED": "true"})
    False
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    return exporter == "otlp" or (exporter == "" and any(environment.get(name) for name in _ENDPOINTS))


def open_spans(environment: Mapping[str, str]) -> "Spans | None":
    """Where traces go, None where nobody asked for any, or nothing is installed that could send them."""
    if not wanted(environment):
        return None
    try:
        found = importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        found = None
    if found is None:
        log.warning("no traces", reason="the SDK is not installed", cure="pip install 'perennial[otel]'")
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "perennial"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Spans(provider)


class Spans:
    """The spans of one worker."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self.tracer: Tracer = provider.get_tracer(_SCOPE)

    async def close(self) -> None:
        """Send what is still kept; a collector that is away is not waited for."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, _CLOSE_S)

    def writer(self, url: str) -> LogWriter:
        """A log writer whose appends are spans."""
        return _TracedWriter(url, tracer=self.tracer)

    def model(self) -> type[LiveModel]:
        """What attaches to the learner, with decisions that are spans."""
        tracer = self.tracer

        class TracedPricing(LivePricing):
            def quote(self, **asked: Any) -> tuple[Quote, Fare]:
                with tracer.start_as_current_span("decide") as span:
                    quote, fare = super().quote(**asked)
                    _say(span, quote_id=quote.quote_id, position=quote.read_position)
                    return quote, fare

        class TracedModel(LiveModel):
            def __init__(self, *attached: Any) -> None:
                super().__init__(*attached)
                self.pricing = TracedPricing(self)

            def recommend(self, **asked: Any) -> Decision:
                with tracer.start_as_current_span("decide") as span:
                    decision = super().recommend(**asked)
                    _say(span, decision_id=decision.decision_id, position=decision.read_position)
                    return decision

        return TracedModel

    def around(self, app: _App) -> _App:
        """The app with a span for each request, in the trace that its `traceparent` names."""
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode

        tracer = self.tracer

        async def traced(
            scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
        ) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            carried = {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in scope["headers"]
                if name in (b"traceparent", b"tracestate", b"baggage")
            }
            method, rule = scope["method"], rule_of(scope["method"], scope["path"])
            route = "other" if rule is None else rule.start + ("" if rule.end is None else f"*{rule.end}")
            with tracer.start_as_current_span(
                f"{method} {route}",
                context=extract(carried),
                kind=SpanKind.SERVER,
                attributes={"http.request.method": method, "http.route": route},
            ) as span:

                async def watched(message: _Message) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                        for name, value in message.get("headers", ()):
                            if name == b"x-request-id":
                                span.set_attribute("perennial.request_id", value.decode("latin-1"))
                        if message["status"] >= 500:
                            span.set_status(Status(StatusCode.ERROR))
                    await send(message)

                await app(scope, receive, watched)

        return traced


class _TracedWriter(LogWriter):
    """Each append is a span: from its asking to the disk's word."""

    def __init__(self, url: str, *, tracer: "Tracer") -> None:
        super().__init__(url)
        self._tracer = tracer

    def _submit(self, payloads: Sequence[bytes], claim: Claim | None) -> "asyncio.Future[Any]":
        span = self._tracer.start_span("append")
        _say(span, records=len(payloads))
        try:
            done = super()._submit(payloads, claim)
        except LogError as error:
            span.record_exception(error)
            span.end()
            raise
        done.add_done_callback(lambda ended: _end(span, ended))
        return done


def _end(span: "Span", ended: "asyncio.Future[Any]") -> None:
    error = None if ended.cancelled() else ended.exception()
    if error is not None:
        span.record_exception(error)
    span.end()


def _say(span: "Span", **found: str | int) -> None:
    for name, value in found.items():
        span.set_attribute(f"perennial.{name}", value)
