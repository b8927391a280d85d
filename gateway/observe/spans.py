"""OpenTelemetry spans of requests, exported over OTLP/HTTP as the standard OTEL_* variables say.

OpenTelemetry is an extra, and nothing of it is imported while the variables name no endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any, Final

from gateway.observe.context import TraceContext
from gateway.observe.trace import Trace

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HTTP: Final = "http/protobuf"
NAME: Final = "gateway"
"""`service.name` where the variables give none."""
GONE: Final = 499
"""Status of a request whose client left before its response."""


class SpansProblem(Exception):
    """Spans are asked for in a way that cannot be done; the message says what to do."""


class RequestSpan:
    """The span of one request, with a child for each stage of a prediction."""

    def __init__(self, tracer: Tracer, span: Span, error: Any) -> None:
        self._tracer, self._span, self._error = tracer, span, error
        self._began, self._began_ns = perf_counter(), time_ns()
        context = span.get_span_context()
        self.context = TraceContext(
            trace=f"{context.trace_id:032x}", span=f"{context.span_id:016x}", flags=f"{context.trace_flags:02x}"
        )
        """What calls to model servers and the access log say of the trace."""

    def end(self, status: int, trace: Trace | None) -> None:
        """The request had a response with this HTTP status; `trace` is what is known of a prediction."""
        span = self._span
        if span.is_recording():
            span.set_attribute("http.response.status_code", status)
            if trace is not None:
                self._describe(trace)
            if status >= 500:
                span.set_status(self._error)
        span.end()

    def _describe(self, trace: Trace) -> None:
        from opentelemetry.trace import set_span_in_context

        known: dict[str, str | int] = {
            "model": trace.model,
            "version": trace.version,
            "label": trace.label,
            "kind": trace.kind,
            "records": trace.records,
            "cache": trace.cache,
            "failed_stage": trace.failed,
        }
        self._span.set_attributes({f"gateway.{name}": value for name, value in known.items() if value})
        parent = set_span_in_context(self._span)
        at = self._began_ns + int((trace.started - self._began) * 1e9)
        for stage, seconds in trace.stages:
            until = at + int(seconds * 1e9)
            self._tracer.start_span(stage, context=parent, start_time=at).end(until)
            at = until


class Spans:
    """Begins spans, and exports them from a thread of its own. Errors: ImportError without the extra."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        )
        self._provider = TracerProvider(
            resource=Resource.create({} if named else {"service.name": NAME}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(NAME)
        self._parents = TraceContextTextMapPropagator()
        self._kind, self._error = SpanKind.SERVER, StatusCode.ERROR

    def begin(self, name: str, traceparent: str | None, attributes: Mapping[str, str]) -> RequestSpan:
        """A span of the client's trace, or of a new one. `name` must be one of few."""
        parent = self._parents.extract({"traceparent": traceparent} if traceparent is not None else {})
        span = self._tracer.start_span(name, context=parent, kind=self._kind, attributes=dict(attributes))
        return RequestSpan(self._tracer, span, self._error)

    def close(self) -> None:
        """Export what is left; takes as long as the exporter's time-out at most."""
        self._provider.shutdown()


def spans_of(environment: Mapping[str, str]) -> Spans | None:
    """Spans as the variables say; None when they name no endpoint or turn them off.

    Errors: SpansProblem without the extra, or for a protocol that is not provided.
    """
    if (
        not any(environment.get(name) for name in ENDPOINTS)
        or environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or environment.get("OTEL_TRACES_EXPORTER", "otlp") == "none"
    ):
        return None
    for name in PROTOCOLS:
        if environment.get(name, HTTP) != HTTP:
            raise SpansProblem(f"{name}={environment[name]}: spans are exported by {HTTP} only; set it to that")
    try:
        return Spans(environment)
    except ImportError as error:
        raise SpansProblem(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed; "
            "pip install 'tfserving-deployer[otel]', or unset the variable"
        ) from error
