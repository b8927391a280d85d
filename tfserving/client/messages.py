"""Between plain values and the messages of the gRPC API; shared by the blocking and the asyncio client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import grpc
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from tfserving.client.values import Metadata, ModelServerError, Prediction, Signature, TensorSpec, VersionStatus
from tfserving.client.values import status_code as to_code
from tfserving.wire import messages_pb2 as m
from tfserving.wire.methods import Method
from tfserving.wire.tensors import Array, to_proto, to_values

HEALTH = Method("grpc.health.v1.Health", "Check", StringValue, Int32Value)
"""The standard health check. Its messages hold one string and one enum as field 1: on the wire, these wrappers."""

_SERVING = 1
_INIT_SIGNATURE = "__saved_model_init_op"

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
)
"""gRPC's own limit of 4 MiB breaks large answers, and a proxy between a client and its replicas is never meant."""


class ServerConfig(Protocol):
    """Something that a server can be told to serve; `tfserving.config.ModelServerConfig` is one."""

    def to_message(self) -> m.ModelServerConfig:
        """The message that the reload RPC carries."""
        ...


def model_spec(model: str, version: int | None, label: str | None, signature: str = "") -> m.ModelSpec:
    """Which version of a model is meant: a number, a label, or neither for the highest that serves.

    Errors: ValueError for both at once.
    """
    if version is not None and label is not None:
        raise ValueError(f"model {model}: name a version or a label, not both")
    spec = m.ModelSpec(name=model, signature_name=signature)
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    return spec


def predict_request(spec: m.ModelSpec, inputs: Mapping[str, Array], output_filter: Sequence[str]) -> m.PredictRequest:
    """Errors: TensorError for an array that has no tensor form."""
    request = m.PredictRequest(model_spec=spec, output_filter=output_filter)
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(to_proto(array))
    return request


def prediction(response: m.PredictResponse) -> Prediction:
    """Errors: TensorError for a tensor that cannot be decoded."""
    spec = response.model_spec
    return Prediction(
        outputs={name: to_values(proto) for name, proto in response.outputs.items()},
        model=spec.name,
        version=spec.version.value if spec.HasField("version") else None,
        signature=spec.signature_name,
    )


def statuses(response: m.GetModelStatusResponse) -> tuple[VersionStatus, ...]:
    """The versions in the order of the answer: highest first."""
    return tuple(
        VersionStatus(
            version=v.version,
            state=m.ModelVersionStatus.State.Name(v.state),
            code=to_code(v.status.error_code),
            message=v.status.error_message,
        )
        for v in response.model_version_status
    )


def metadata_request(spec: m.ModelSpec) -> m.GetModelMetadataRequest:
    """A request for the only metadata field there is."""
    return m.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])


def metadata(response: m.GetModelMetadataResponse) -> Metadata:
    """The signatures, unpacked by field number: the type's name in the answer is TensorFlow Serving's, not ours."""
    signatures = m.SignatureDefMap.FromString(response.metadata["signature_def"].value).signature_def
    return Metadata(
        model=response.model_spec.name,
        version=response.model_spec.version.value,
        signatures={
            name: Signature(inputs=_specs(d.inputs), outputs=_specs(d.outputs), method=d.method_name)
            for name, d in sorted(signatures.items())
            if name != _INIT_SIGNATURE
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


def is_serving(response: Int32Value) -> bool:
    """What a health check says."""
    return response.value == _SERVING


def not_serving(error: ModelServerError) -> bool:
    """Whether a failed health check means "not healthy" rather than "cannot be asked"."""
    return error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def typed_error(error: grpc.RpcError) -> ModelServerError:
    """gRPC's error as ours."""
    return ModelServerError(error.code(), error.details() or "")
