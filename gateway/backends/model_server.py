"""The model server's calls with typed requests and responses, whichever replica takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import DecodeError

from gateway.backends.cache import ResponseCache, digest_of
from gateway.backends.pool import Pool
from gateway.backends.rpc import RpcError
from gateway.observe.trace import Trace
from gateway.routing.labels import Choice
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.status import Code
from tfserving.wire.tensors import DTYPES, Array, TensorError, delimited, to_array, values_of

Inputs = Mapping[str, bytes]
"""Serialized TensorProtos by the name of the input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Output tensors, and the version that computed them."""

    outputs: Mapping[str, Array]
    dtypes: Mapping[str, int]
    version: int

    def values(self) -> Mapping[str, Array]:
        """The outputs in numpy types that hold their values: bfloat16 as float32."""
        return {name: values_of(array, DTYPES[self.dtypes[name]]) for name, array in self.outputs.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """A tensor of a signature: TensorFlow's name of its dtype and its shape (-1 unknown), None when unranked."""

    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What GetModelMetadata says of one version."""

    version: int
    signatures: m.SignatureDefMap
    response: m.GetModelMetadataResponse


class ModelServer:
    """Typed calls through a pool of replicas, and of Predict through the cache of the models that have one."""

    def __init__(self, pool: Pool, cache: ResponseCache) -> None:
        self._pool = pool
        self.cache = cache

    async def predict(
        self,
        model: str,
        choice: Choice,
        signature: str,
        inputs: Inputs,
        deadline: float,
        trace: Trace,
        outputs: Sequence[str] = (),
    ) -> Prediction:
        """Predict, and return only `outputs` if any are named. Errors: RpcError."""
        request = predict_request(model, choice, signature, inputs, outputs)
        if not self.cache.takes(model, len(request), trace):
            return read_prediction(await self._pool.call(methods.PREDICT, request, deadline, (model, choice)))
        digest = digest_of(signature, inputs, outputs)
        return read_prediction(await self._cached(model, choice, digest, request, deadline, trace))

    async def forward(
        self, method: methods.Method, message: bytes, deadline: float, subject: tuple[str, Choice]
    ) -> bytes:
        """A serialized request of another party, for a model and what it asks of it. Errors: RpcError."""
        return await self._pool.call(method, message, deadline, subject)

    async def forward_predict(self, head: m.RequestHead, deadline: float, choice: Choice, trace: Trace) -> bytes:
        """A PredictRequest of another party, of which the model is read and the rest is as it came; `choice` stands in
        it. Errors: RpcError."""
        model, message = head.model_spec.name, head.SerializeToString()
        if not self.cache.takes(model, len(message), trace):
            return await self._pool.call(methods.PREDICT, message, deadline, (model, choice))
        unnamed = m.RequestHead.FromString(message)
        unnamed.ClearField("model_spec")
        digest = digest_of(head.model_spec.signature_name, {"": unnamed.SerializeToString()}, ())
        return await self._cached(model, choice, digest, message, deadline, trace)

    async def _cached(
        self, model: str, choice: Choice, digest: bytes, request: bytes, deadline: float, trace: Trace
    ) -> bytes:
        async def call() -> bytes:
            return await self._pool.call(methods.PREDICT, request, deadline, (model, choice))

        return await self.cache.response(model, choice, digest, deadline, trace, call, version_in)

    async def metadata(self, model: str, choice: Choice, deadline: float) -> Metadata:
        """GetModelMetadata of what the choice resolves to. Errors: RpcError."""
        request = m.GetModelMetadataRequest(metadata_field=["signature_def"])
        _fill(request.model_spec, model, choice, "")
        answer = await self._pool.call(
            methods.GET_MODEL_METADATA, request.SerializeToString(), deadline, (model, choice)
        )
        try:
            response = m.GetModelMetadataResponse.FromString(answer)
            signatures = m.SignatureDefMap.FromString(response.metadata["signature_def"].value)
        except DecodeError as error:
            raise RpcError(Code.INTERNAL, f"the model server's metadata cannot be decoded: {error}") from error
        return Metadata(version=response.model_spec.version.value, signatures=signatures, response=response)

    async def status(self, model: str, version: int | None, deadline: float) -> m.GetModelStatusResponse:
        """GetModelStatus of one version or of all. Errors: RpcError."""
        request = m.GetModelStatusRequest()
        _fill(request.model_spec, model, Choice(version=version), "")
        answer = await self._pool.call(
            methods.GET_MODEL_STATUS, request.SerializeToString(), deadline, (model, Choice(version=version))
        )
        return m.GetModelStatusResponse.FromString(answer)


def version_in(answer: bytes) -> int:
    """The version that a serialized response of Predict, Classify or Regress names. Errors: RpcError."""
    try:
        return m.ResponseHead.FromString(answer).model_spec.version.value
    except DecodeError as error:
        raise RpcError(Code.INTERNAL, f"the model server's response cannot be decoded: {error}") from error


def read_prediction(answer: bytes) -> Prediction:
    """The tensors and the version of a serialized PredictResponse. Errors: RpcError."""
    try:
        response = m.PredictResponse.FromString(answer)
        outputs, dtypes = dict[str, Array](), dict[str, int]()
        for name, tensor in response.outputs.items():
            outputs[name], dtypes[name] = to_array(tensor), tensor.dtype
    except (DecodeError, TensorError) as error:
        raise RpcError(Code.INTERNAL, f"the model server's response cannot be decoded: {error}") from error
    return Prediction(outputs=outputs, dtypes=dtypes, version=response.model_spec.version.value)


def predict_request(model: str, choice: Choice, signature: str, inputs: Inputs, outputs: Sequence[str] = ()) -> bytes:
    """A serialized PredictRequest, put together without building the message."""
    request = _request_head(model, choice, signature)
    for name, tensor in inputs.items():
        request += delimited(2, delimited(1, name.encode()) + delimited(2, tensor))
    for name in outputs:
        request += delimited(3, name.encode())
    return request


def examples_request(model: str, choice: Choice, signature: str, examples: Sequence[bytes]) -> bytes:
    """A serialized request of Classify or Regress, of serialized Examples."""
    listed = b"".join(delimited(1, example) for example in examples)
    return _request_head(model, choice, signature) + delimited(2, delimited(1, listed))


@lru_cache(maxsize=1024)
def _request_head(model: str, choice: Choice, signature: str) -> bytes:
    request = m.PredictRequest()
    _fill(request.model_spec, model, choice, signature)
    return request.SerializeToString()


def tensor_specs(tensors: Mapping[str, m.TensorInfo]) -> dict[str, TensorSpec]:
    """The inputs or outputs of a signature."""
    return {name: _tensor_spec(info) for name, info in tensors.items()}


def _tensor_spec(info: m.TensorInfo) -> TensorSpec:
    dtype = DTYPES.get(info.dtype)
    shape = None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(dtype=dtype.name if dtype else f"type {info.dtype}", shape=shape)


def _fill(spec: m.ModelSpec, model: str, choice: Choice, signature: str) -> None:
    spec.name = model
    choose_in(spec, choice)
    if signature:
        spec.signature_name = signature


def choose_in(spec: m.ModelSpec, choice: Choice) -> None:
    """Write a choice into the name of a model."""
    if choice.version is not None:
        spec.version.value = choice.version
    elif choice.label is not None:
        spec.version_label = choice.label
    else:
        spec.ClearField("version_choice")
