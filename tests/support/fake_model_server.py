"""A model server for tests: TensorFlow Serving's gRPC messages, no TensorFlow, and faults on demand.

Version N of every model answers `y = 10 * N * sum(x)`, shape [rows]; x is float [-1, 2], for version 3 [-1, 3].
Run as a program it serves until it is killed: `python fake_model_server.py PORT`.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent import futures
from dataclasses import dataclass, field

import grpc
import numpy as np

from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.tensors import to_array, to_proto


@dataclass
class Seen:
    """One Predict as it arrived."""

    version: int | None
    label: str
    rows: int
    seconds_left: float
    metadata: dict[str, str] = field(default_factory=dict)
    peer: str = ""
    """The other end of the connection."""


@dataclass
class FakeModelServer:
    """Answers on a real port. Change the fields at any time."""

    port: int = 0
    labels: dict[str, int] = field(default_factory=lambda: {"stable": 1, "canary": 2})
    loaded: set[int] = field(default_factory=lambda: {1, 2})
    delay: float = 0.0
    faults: list[tuple[grpc.StatusCode, str]] = field(default_factory=list)
    """What the next Predict calls fail with, one a call."""
    always: tuple[grpc.StatusCode, str] | None = None
    seen: list[Seen] = field(default_factory=list)
    cancelled: int = 0
    """Predict calls whose caller had left before the response."""
    gate: threading.Event = field(default_factory=threading.Event)
    """While it is not set, Predict calls that have been seen wait; it is set at first."""

    def __post_init__(self) -> None:
        self.gate.set()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        )
        handlers: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
        for method, function in (
            (methods.PREDICT, self._predict),
            (methods.GET_MODEL_METADATA, self._metadata),
            (methods.GET_MODEL_STATUS, self._status),
        ):
            handlers.setdefault(method.service, {})[method.name] = grpc.unary_unary_rpc_method_handler(
                function, method.request.FromString, lambda message: message.SerializeToString()
            )
        for service, of_service in handlers.items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, of_service),))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Drop everything at once."""
        self.gate.set()
        self._server.stop(0).wait()

    def _resolve(self, spec: m.ModelSpec, context: grpc.ServicerContext) -> int:
        if spec.version_label:
            if spec.version_label not in self.labels:
                message = f"Unrecognized servable version label: {spec.version_label}"
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
            version = self.labels[spec.version_label]
        else:
            version = spec.version.value if spec.HasField("version") else max(self.loaded)
        if version not in self.loaded:
            message = f"Servable not found for request: Specific({spec.name}, {version})"
            context.abort(grpc.StatusCode.NOT_FOUND, message)
        return version

    def _predict(self, request: m.PredictRequest, context: grpc.ServicerContext) -> m.PredictResponse:
        spec, x = request.model_spec, to_array(request.inputs["x"])
        asked = spec.version.value if spec.HasField("version") else None
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        self.seen.append(
            Seen(asked, spec.version_label, len(x), context.time_remaining() or 0.0, metadata, context.peer())
        )
        if self.faults:
            context.abort(*self.faults.pop(0))
        if self.always is not None:
            context.abort(*self.always)
        version = self._resolve(spec, context)
        if x.shape[1:] != (_width(version),):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Matrix size-incompatible: In[0]: {list(x.shape)}")
        assert self.gate.wait(60)
        time.sleep(self.delay)
        if not context.is_active():
            self.cancelled += 1
        response = m.PredictResponse()
        response.outputs["y"].CopyFrom(to_proto((10 * version * x.sum(axis=1)).astype(np.float32), typed=True))
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        return response

    def _metadata(
        self, request: m.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> m.GetModelMetadataResponse:
        version = self._resolve(request.model_spec, context)
        signatures = m.SignatureDefMap()
        signature = signatures.signature_def["serving_default"]
        signature.method_name = "tensorflow/serving/predict"
        for info, name, shape in (
            (signature.inputs["x"], "x", (-1, _width(version))),
            (signature.outputs["y"], "y", (-1,)),
        ):
            info.dtype, info.name = m.DT_FLOAT, f"{name}:0"
            for size in shape:
                info.tensor_shape.dim.add().size = size
        response = m.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        response.metadata["signature_def"].type_url = methods.SIGNATURE_DEF_TYPE_URL
        response.metadata["signature_def"].value = signatures.SerializeToString()
        return response

    def _status(self, request: m.GetModelStatusRequest, context: grpc.ServicerContext) -> m.GetModelStatusResponse:
        response = m.GetModelStatusResponse()
        for version in sorted(self.loaded, reverse=True):
            response.model_version_status.add(version=version, state=m.ModelVersionStatus.AVAILABLE)
        return response


def _width(version: int) -> int:
    return 3 if version == 3 else 2


if __name__ == "__main__":
    FakeModelServer(port=int(sys.argv[1]))
    threading.Event().wait()
