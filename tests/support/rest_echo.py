"""A REST server whose one model answers with its own inputs: what is seen of it is what the REST layer does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection

from tfserving.server.execution.servable import NotQuick
from tfserving.server.inference.calls import Described, Inference, Predicted
from tfserving.server.memory import Budget
from tfserving.server.metrics import Metrics
from tfserving.server.rest.api import RestServer
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import Code, StatusError
from tfserving.wire.tensor import Tensor

PREDICT = "/v1/models/echo:predict"
ZEROS, NINES = b"0" * 5000, b"9" * 5000
"""More digits than Python turns into an integer."""


class FakeInference(Inference):
    """One model "echo", version 3, label "stable", whose output y is its float input x."""

    def __init__(self) -> None:
        self.signature_def = m.SignatureDef(method_name="tensorflow/serving/predict")
        self.signature_def.inputs["x"].dtype = m.DT_FLOAT
        self.failure: StatusError | None = None
        self.bug: Exception | None = None
        self.timeouts: list[float | None] = []
        self.gate = threading.Event()
        self.gate.set()
        self.quick = True

    def _find(self, spec: m.ModelSpec) -> None:
        if spec.WhichOneof("version_choice") == "version_label" and spec.version_label != "stable":
            raise StatusError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}")
        if spec.name != "echo":
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        if spec.HasField("version") and spec.version.value != 3:
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: Specific(echo, {spec.version.value})")

    def signature(self, spec: m.ModelSpec, name: str) -> m.SignatureDef | None:
        self._find(spec)
        return None if name not in ("", "serving_default") else self.signature_def

    def predict(
        self,
        spec: m.ModelSpec,
        inputs: Mapping[str, Tensor],
        *,
        output_filter: Sequence[str] = (),
        timeout: float | None,
        only_if_quick: bool = False,
    ) -> Predicted:
        self._find(spec)
        if only_if_quick and not (self.quick and self.gate.is_set()):
            raise NotQuick
        self.timeouts.append(timeout)
        self.gate.wait(10)
        if error := self.failure or self.bug:
            raise error
        return Predicted(outputs={"y": inputs["x"]}, name="echo", version=3, signature="serving_default")

    def status(self, name: str, version: int | None) -> list[m.ModelVersionStatus]:
        if name != "echo":
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        status = m.ModelVersionStatus(version=3, state=m.ModelVersionStatus.AVAILABLE)
        return [status]

    def metadata(self, spec: m.ModelSpec) -> Described:
        self._find(spec)
        return Described(
            name="echo", version=3, signatures=m.SignatureDefMap(signature_def={"serving_default": self.signature_def})
        )


class Served:
    """A running server and its parts."""

    def __init__(
        self,
        *,
        port: int = 0,
        threads: int = 4,
        timeout_ms: int = 30_000,
        cors: bool = False,
        prometheus_path: str | None = "/metrics",
        budget: Budget | None = None,
    ) -> None:
        self.inference, self.metrics, self.budget = FakeInference(), Metrics(), budget or Budget(1 << 30)
        self.server = RestServer(
            self.inference,
            self.metrics,
            port=port,
            threads=threads,
            timeout_ms=timeout_ms,
            cors=cors,
            prometheus_path=prometheus_path,
            budget=self.budget,
        )
        self.server.start()

    def ask(
        self, method: str, path: str, body: str | bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: status, headers (lower-case) and body."""
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def raw(self, data: bytes, *, end: bool = False) -> bytes:
        """Everything the server sends for these bytes until it closes the connection."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=10) as client:
            client.sendall(data)
            if end:
                client.shutdown(socket.SHUT_WR)
            received = b""
            while piece := client.recv(65536):
                received += piece
            return received


def error(body: bytes) -> str:
    """The text of an error."""
    return str(json.loads(body)["error"])
