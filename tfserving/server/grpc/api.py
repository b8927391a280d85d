"""TensorFlow Serving's gRPC services: bytes in, bytes out.

Requests are decoded here, so that an undecodable one gets the response of the real server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from tfserving.server.grpc.server import Method
from tfserving.server.inference import examples as ex
from tfserving.server.inference.calls import Inference, OfExamples, Result
from tfserving.server.inference.inputs import ProtoInputs
from tfserving.server.metrics import Metrics
from tfserving.server.versions.models import ModelCore
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.status import Code, StatusError, invalid
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import delimited, set_shape, to_proto, to_typed_bytes

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"
_HEALTHY_SERVICES = (b"", b"\x0a\x0cModelService", b"\x0a\x11PredictionService")

Request = TypeVar("Request", bound=Message)


@dataclass(frozen=True, kw_only=True)
class GrpcOptions:
    """`typed_values` is the real server's default form of a response, else tensor_content; `health` adds the service.

    `profiler` only decides how calls of tensorflow.ProfilerService are refused.
    """

    typed_values: bool = True
    health: bool = False
    profiler: bool = True


class _Observation:
    """Counts one call, and its latency when it succeeds. A class, as a generator costs a request microseconds."""

    __slots__ = ("_api", "_metrics", "_model", "_start")

    def __init__(self, metrics: Metrics, api: str, model: str) -> None:
        self._metrics, self._api, self._model = metrics, api, model
        self._start = time.perf_counter()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self._metrics.request_count.add(1, self._model, "OK")
            micros = (time.perf_counter() - self._start) * 1e6
            self._metrics.request_latency.observe(micros, self._model, self._api, "GRPC")
        elif isinstance(error, StatusError):
            self._metrics.request_count.add(1, self._model, error.code.name)


class Services:
    """The methods: bytes in, bytes out, StatusError for everything that goes wrong."""

    def __init__(self, inference: Inference, core: ModelCore, metrics: Metrics, options: GrpcOptions) -> None:
        self._inference, self._core, self._metrics, self._options = inference, core, metrics, options
        self.table: dict[str, Method] = {
            methods.PREDICT.path: self.predict,
            methods.CLASSIFY.path: self.classify,
            methods.REGRESS.path: self.regress,
            methods.MULTI_INFERENCE.path: self.multi_inference,
            methods.GET_MODEL_METADATA.path: self.metadata,
            methods.GET_MODEL_STATUS.path: self.status,
            methods.RELOAD_CONFIG.path: self.reload,
        }
        if options.health:
            self.table[HEALTH_CHECK] = _health
        if options.profiler:
            for method in ("Profile", "Terminate", "Monitor"):
                self.table[f"/tensorflow.ProfilerService/{method}"] = _profiler
        waits = {methods.CLASSIFY.path, methods.REGRESS.path, methods.MULTI_INFERENCE.path, methods.RELOAD_CONFIG.path}
        self.quick: dict[str, Method] = {path: method for path, method in self.table.items() if path not in waits}
        self.quick[methods.PREDICT.path] = partial(self.predict, only_if_quick=True)

    def _observed(self, api: str, model: str) -> _Observation:
        return _Observation(self._metrics, api, model)

    def predict(self, payload: bytes, timeout: float | None, *, only_if_quick: bool = False) -> bytes:
        """PredictionService.Predict. Errors: with `only_if_quick` also NotQuick."""
        request = _decode(m.PredictRequest, payload)
        with self._observed("Predict", request.model_spec.name):
            _check_spec(request)
            found = self._inference.predict(
                request.model_spec,
                ProtoInputs(request.inputs, only_if_quick=only_if_quick),
                output_filter=request.output_filter,
                timeout=timeout,
                only_if_quick=only_if_quick,
            )
            answer = [
                delimited(1, delimited(1, alias.encode()) + delimited(2, self._answer(tensor)))
                for alias, tensor in found.outputs.items()
            ]
            return b"".join([*answer, delimited(2, _spec(found.name, found.version, found.signature))])

    def _answer(self, tensor: Tensor) -> bytes:
        """A tensor in the form of the real server, which always sends a shape, also a scalar's empty one."""
        if self._options.typed_values:
            return to_typed_bytes(tensor.array, tensor.dtype, tensor.shape)
        proto = to_proto(tensor.array, dtype=tensor.dtype)
        if tensor.dtype.name == "string":
            proto.tensor_content = _string_content(tensor.array.ravel().tolist())
            proto.ClearField("string_val")
        set_shape(proto, tensor.shape)
        return proto.SerializeToString()

    def classify(self, payload: bytes, timeout: float | None) -> bytes:
        """PredictionService.Classify"""
        request = _decode(m.ClassificationRequest, payload)
        return self._of_examples("Classify", request, timeout, self._inference.classify, m.ClassificationResponse)

    def regress(self, payload: bytes, timeout: float | None) -> bytes:
        """PredictionService.Regress"""
        request = _decode(m.RegressionRequest, payload)
        return self._of_examples("Regress", request, timeout, self._inference.regress, m.RegressionResponse)

    def _of_examples(
        self,
        api: str,
        request: m.ClassificationRequest | m.RegressionRequest,
        timeout: float | None,
        run: Callable[..., OfExamples[Result]],
        respond: Callable[..., m.ClassificationResponse | m.RegressionResponse],
    ) -> bytes:
        with self._observed(api, request.model_spec.name):
            _check_spec(request)
            found = run(request.model_spec, ex.serialized_examples(request.input), timeout=timeout)
            response = respond(result=found.result)
            _fill_spec(response.model_spec, found.name, found.version, found.signature)
            return response.SerializeToString()

    def multi_inference(self, payload: bytes, timeout: float | None) -> bytes:
        """PredictionService.MultiInference"""
        request = _decode(m.MultiInferenceRequest, payload)
        return self._inference.multi_inference(request, timeout=timeout).SerializeToString()

    def metadata(self, payload: bytes, timeout: float | None) -> bytes:
        """PredictionService.GetModelMetadata"""
        del timeout
        request = _decode(m.GetModelMetadataRequest, payload)
        _check_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        found = self._inference.metadata(request.model_spec)
        response = m.GetModelMetadataResponse()
        _fill_spec(response.model_spec, found.name, found.version, "")
        response.metadata["signature_def"].type_url = methods.SIGNATURE_DEF_TYPE_URL
        response.metadata["signature_def"].value = found.signatures.SerializeToString()
        return response.SerializeToString()

    def status(self, payload: bytes, timeout: float | None) -> bytes:
        """ModelService.GetModelStatus"""
        del timeout
        request = _decode(m.GetModelStatusRequest, payload)
        _check_spec(request)
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        states = self._core.status(spec.name, version)
        return m.GetModelStatusResponse(model_version_status=states).SerializeToString()

    def reload(self, payload: bytes, timeout: float | None) -> bytes:
        """ModelService.HandleReloadConfigRequest; goes on when the client has given up."""
        del timeout
        request = _decode(m.ReloadConfigRequest, payload)
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        before = {name: self._metrics.counter_value(name) for name in request.metric_names}
        self._core.reload(request.config)
        response = m.ReloadConfigResponse(status=m.StatusProto())
        for name in dict.fromkeys(request.metric_names):
            response.metric.add(name=name, int64_value_increase=self._metrics.counter_value(name) - before[name])
        return response.SerializeToString()


def _string_content(strings: Sequence[bytes]) -> bytes:
    """TensorFlow's own coding of strings: all lengths as varints, then all bytes."""
    lengths = bytearray()
    for string in strings:
        length = len(string)
        while length > 127:
            lengths.append(length & 127 | 128)
            length >>= 7
        lengths.append(length)
    return bytes(lengths) + b"".join(strings)


def _health(payload: bytes, timeout: float | None) -> bytes:
    del timeout
    if payload not in _HEALTHY_SERVICES:
        raise StatusError(Code.NOT_FOUND, "service name unknown")
    return _SERVING


def _profiler(payload: bytes, timeout: float | None) -> bytes:
    del payload, timeout
    raise StatusError(Code.UNIMPLEMENTED, "unimplemented.")


def _decode(kind: type[Request], payload: bytes) -> Request:
    try:
        return kind.FromString(payload)
    except DecodeError as error:
        raise StatusError(Code.INTERNAL, "") from error


def _check_spec(request: Message) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")


@lru_cache(maxsize=1024)
def _spec(name: str, version: int, signature: str) -> bytes:
    spec = m.ModelSpec()
    _fill_spec(spec, name, version, signature)
    return spec.SerializeToString()


def _fill_spec(spec: m.ModelSpec, name: str, version: int, signature: str) -> None:
    spec.name = name
    spec.version.value = version
    spec.signature_name = signature
