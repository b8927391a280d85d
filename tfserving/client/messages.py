"""The calls of the gRPC API, from plain values and to them; shared by the blocking and the asyncio client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from tfserving.client.values import (
    INIT_SIGNATURE,
    Metadata,
    ModelServerError,
    Prediction,
    Signature,
    TensorSpec,
    VersionStatus,
    check_choice,
)
from tfserving.client.values import status_code as to_code
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.methods import Method
from tfserving.wire.tensors import Array, to_proto, to_values

HEALTH = Method("grpc.health.v1.Health", "Check", StringValue, Int32Value)
"""The standard health check. Its messages hold one string and one enum as field 1: on the wire, these wrappers."""

_SERVING = 1

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
)
"""gRPC's own limit of 4 MiB breaks large answers, and a proxy between a client and its replicas is never meant."""


T = TypeVar("T")
Stub = Callable[..., Any]
"""One method of a channel: called with a request and a timeout. What it returns is awaited in asyncio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One call: the request, how its response is read, and which failures are a result as well."""

    method: Method
    request: Message
    read: Callable[[Any], T]
    failures: Mapping[grpc.StatusCode, T] = field(default_factory=dict)

    def failed(self, error: grpc.RpcError) -> T:
        """What gRPC's error comes to. Errors: ModelServerError."""
        if error.code() in self.failures:
            return self.failures[error.code()]
        raise ModelServerError(error.code(), error.details() or "") from error


def stubs(channel: grpc.Channel | grpc.aio.Channel) -> dict[Method, Stub]:
    """Every method that a client calls."""
    return {
        method: channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
        for method in (*methods.METHODS, HEALTH)
    }


class ServerConfig(Protocol):
    """Something that a server can be told to serve; `tfserving.config.ModelServerConfig` is one."""

    def to_message(self) -> m.ModelServerConfig:
        """The message that the reload RPC carries."""
        ...


def model_spec(model: str, version: int | None, label: str | None, signature: str = "") -> m.ModelSpec:
    """Which version of a model is meant: a number, a label, or neither for the highest that serves.

    Errors: ValueError for both at once.
    """
    check_choice(model, version, label)
    spec = m.ModelSpec(name=model, signature_name=signature)
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    return spec


def predict(spec: m.ModelSpec, inputs: Mapping[str, Array], output_filter: Sequence[str]) -> Call[Prediction]:
    """The call of `Client.predict`. Errors: TensorError for an array that has no tensor form."""
    request = m.PredictRequest(model_spec=spec, output_filter=output_filter)
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(to_proto(array))
    return Call(method=methods.PREDICT, request=request, read=_prediction)


def _prediction(response: m.PredictResponse) -> Prediction:
    spec = response.model_spec
    return Prediction(
        outputs={name: to_values(proto) for name, proto in response.outputs.items()},
        model=spec.name,
        version=spec.version.value if spec.HasField("version") else None,
        signature=spec.signature_name,
    )


def status(model: str, version: int | None) -> Call[tuple[VersionStatus, ...]]:
    """The call of `Client.status`."""
    request = m.GetModelStatusRequest(model_spec=model_spec(model, version, None))
    return Call(method=methods.GET_MODEL_STATUS, request=request, read=_statuses)


def _statuses(response: m.GetModelStatusResponse) -> tuple[VersionStatus, ...]:
    return tuple(
        VersionStatus(
            version=v.version,
            state=m.ModelVersionStatus.State.Name(v.state),
            code=to_code(v.status.error_code),
            message=v.status.error_message,
        )
        for v in response.model_version_status
    )


def metadata(spec: m.ModelSpec) -> Call[Metadata]:
    """The call of `Client.metadata`, for the only metadata field there is."""
    request = m.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
    return Call(method=methods.GET_MODEL_METADATA, request=request, read=_metadata)


def reload(config: ServerConfig) -> Call[None]:
    """The call of `Client.reload`."""
    request = m.ReloadConfigRequest(config=config.to_message())
    return Call(method=methods.RELOAD_CONFIG, request=request, read=lambda _: None)


def healthy(service: str) -> Call[bool]:
    """The call of `Client.healthy`: a server that does not respond in time is not healthy."""
    return Call(
        method=HEALTH,
        request=StringValue(value=service),
        read=lambda response: bool(response.value == _SERVING),
        failures={grpc.StatusCode.UNAVAILABLE: False, grpc.StatusCode.DEADLINE_EXCEEDED: False},
    )


def _metadata(response: m.GetModelMetadataResponse) -> Metadata:
    """The signatures, unpacked by field number: the type's name in the response is TensorFlow Serving's, not ours."""
    signatures = m.SignatureDefMap.FromString(response.metadata["signature_def"].value).signature_def
    return Metadata(
        model=response.model_spec.name,
        version=response.model_spec.version.value,
        signatures={
            name: Signature(inputs=_specs(d.inputs), outputs=_specs(d.outputs), method=d.method_name)
            for name, d in sorted(signatures.items())
            if name != INIT_SIGNATURE
        },
    )


def _specs(infos: Mapping[str, m.TensorInfo]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(dtype=dtype_name(i.dtype), shape=_shape(i)) for name, i in sorted(infos.items())}


def dtype_name(number: int) -> str:
    """TensorFlow's name of an element type, the number itself for a type of a newer TensorFlow."""
    value = m.DataType.DESCRIPTOR.values_by_number.get(number)
    return value.name.removeprefix("DT_").lower() if value else str(number)


def _shape(info: m.TensorInfo) -> tuple[int, ...] | None:
    return None if info.tensor_shape.unknown_rank else tuple([d.size for d in info.tensor_shape.dim])
