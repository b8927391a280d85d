"""OpenTelemetry spans of a gateway process, as a collector on loopback receives them."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import pytest
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from gateway.observe.spans import SpansProblem, spans_of
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.tensors import to_proto

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RECORD = {"records": [{"a": 1, "b": 2}]}


class Collector:
    """Takes spans over OTLP/HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        for group in request.resource_spans:
            self.services |= {a.value.string_value for a in group.resource.attributes if a.key == "service.name"}
            self.spans += [span for scope in group.scope_spans for span in scope.spans]

    def servers(self) -> list[Span]:
        """Spans of requests."""
        return [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]

    def stages(self, of: Span) -> list[Span]:
        return [span for span in self.spans if span.parent_span_id == of.span_id]


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def replica() -> Iterator[FakeModelServer]:
    made = FakeModelServer()
    yield made
    made.stop()


def attributes(span: Span) -> dict[str, object]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value") or "") for a in span.attributes}


def test_a_prediction_is_a_span_of_the_clients_trace_with_its_stages(
    collector: Collector, replica: FakeModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    gateway = GatewayProcess(tmp_path, config(replica.address), "--drain-seconds=0")
    try:
        assert gateway.post(RECORD, traceparent=f"00-{TRACE}-{PARENT}-01").status_code == 200
        assert gateway.post(RECORD).status_code == 200
        assert gateway.post({"records": [{"a": "?"}]}).status_code == 400
        replica.always = (grpc.StatusCode.INTERNAL, "broken")
        assert gateway.post(RECORD).status_code == 500
    finally:
        assert gateway.stop() == 0
    followed, begun, bad, failed = sorted(collector.servers(), key=lambda span: span.start_time_unix_nano)
    assert collector.services == {"gateway"}
    assert (followed.trace_id.hex(), followed.parent_span_id.hex()) == (TRACE, PARENT)
    assert begun.trace_id.hex() != TRACE
    assert not begun.parent_span_id
    known = attributes(followed)
    assert known["http.response.status_code"] == 200
    assert (known["gateway.model"], known["gateway.version"], known["gateway.label"]) == ("m", "1", "stable")
    assert known["gateway.records"] == 1
    stages = collector.stages(followed)
    assert {"decode", "preprocess", "backend", "interpret"} <= {stage.name for stage in stages}
    for stage in stages:
        assert stage.trace_id == followed.trace_id
        assert followed.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano
    for sent, span in zip(replica.seen, (followed, begun), strict=False):
        assert sent.metadata["traceparent"].startswith(f"00-{span.trace_id.hex()}-{span.span_id.hex()}-")
    assert attributes(bad)["gateway.failed_stage"] == "preprocess"
    assert bad.status.code == Status.STATUS_CODE_UNSET
    assert failed.status.code == Status.STATUS_CODE_ERROR


def test_a_grpc_call_is_a_span_too(
    collector: Collector, replica: FakeModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "edge")
    gateway = GatewayProcess(tmp_path, config(replica.address), "--drain-seconds=0", "--grpc-port=0")
    request = m.PredictRequest(model_spec=m.ModelSpec(name="m"))
    request.inputs["x"].CopyFrom(to_proto(np.array([[1, 2]], np.float32)))
    try:
        with grpc.insecure_channel(gateway.grpc) as channel:
            call = channel.unary_unary(methods.PREDICT.path)
            call(request.SerializeToString(), timeout=30, metadata=[("traceparent", f"00-{TRACE}-{PARENT}-01")])
    finally:
        assert gateway.stop() == 0
    (span,) = collector.servers()
    assert collector.services == {"edge"}
    assert span.name == methods.PREDICT.path
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(span)["gateway.model"] == "m"
    assert "backend" in {stage.name for stage in collector.stages(span)}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
    ids=str,
)
def test_nothing_is_imported_while_it_is_off(variables: dict[str, str]) -> None:
    code = (
        "import sys, gateway.lifecycle\nfrom gateway.observe.spans import spans_of\n"
        f"assert spans_of({variables}) is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_extra_and_another_protocol_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with pytest.raises(SpansProblem, match=r"OTEL_EXPORTER_OTLP_PROTOCOL=grpc: .* http/protobuf"):
        spans_of(variables | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SpansProblem, match=r"pip install 'tfserving-deployer\[otel\]'"):
        spans_of(variables)
