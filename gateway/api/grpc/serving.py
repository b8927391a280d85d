"""TensorFlow Serving's PredictionService and ModelService.

Of a request only the model is read; tensors and Examples are passed on as the bytes they came in, and so is the
response. A request that names neither version nor label goes where weights and sticky key say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from google.protobuf.message import DecodeError, Message

from gateway.active import Model
from gateway.api.grpc.calls import Answer, Call, answered, deadline_of, read
from gateway.api.predict import Exchange, sticky_key, target
from gateway.api.v2.models import routed
from gateway.backends.model_server import choose_in, version_in
from gateway.backends.rpc import RpcError
from gateway.gateway import Gateway
from gateway.routing.labels import NEWEST, Choice
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.methods import Method
from tfserving.wire.status import Code, invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forwarded:
    """A call to pass on: `specs` are its models, in `request`; `version` reads the response."""

    method: Method
    request: Message
    specs: tuple[m.ModelSpec, ...]
    version: Callable[[bytes], int]


async def _predict(method: Method, kind: str, gateway: Gateway, message: bytes, call: Call) -> bytes:
    """Predict, Classify, Regress."""
    head = read(m.RequestHead, message)
    onward = _Forwarded(method=method, request=head, specs=(head.model_spec,), version=version_in)
    return await _routed(gateway, call, kind, onward)


async def _multi_inference(gateway: Gateway, message: bytes, call: Call) -> bytes:
    """All tasks ask for one model, as TensorFlow Serving demands; those that name no version go to the same."""
    request = read(m.MultiInferenceRequest, message)
    specs = tuple(task.model_spec for task in request.tasks)
    onward = _Forwarded(method=methods.MULTI_INFERENCE, request=request, specs=specs, version=_first_version)
    return await _routed(gateway, call, "examples", onward)


async def _routed(gateway: Gateway, call: Call, kind: str, onward: _Forwarded) -> bytes:
    first = onward.specs[0] if onward.specs else m.ModelSpec()
    for spec in onward.specs:
        if spec.name != first.name:
            call.require(spec.name)
    free = [spec for spec in onward.specs if _asked(spec) == NEWEST]

    async def ask(gateway: Gateway, exchange: Exchange, onward: _Forwarded) -> bytes:
        exchange.trace.kind = kind
        model, choice = target(gateway, exchange, call.fields)
        for spec in free:
            choose_in(spec, choice)
        exchange.trace.mark("decode")
        if onward.method is methods.PREDICT:
            assert isinstance(onward.request, m.RequestHead)
            response = await gateway.server.forward_predict(onward.request, exchange.deadline, choice, exchange.trace)
        else:
            message, subject = onward.request.SerializeToString(), (model.name, choice)
            response = await gateway.server.forward(onward.method, message, exchange.deadline, subject)
        exchange.trace.mark("backend")
        exchange.trace.version = str(onward.version(response))
        return response

    return await answered(gateway, call, first.name, _asked(first), ask, onward)


async def _metadata(gateway: Gateway, message: bytes, call: Call) -> bytes:
    """GetModelMetadata, of the version that a prediction of the same client would get."""
    request = read(m.GetModelMetadataRequest, message)
    spec = request.model_spec
    model = _configured(gateway, call, spec.name)
    choice = _asked(spec)
    if choice == NEWEST:
        choice = _mostly(model, call)
        choose_in(spec, choice)
    return await gateway.server.forward(
        methods.GET_MODEL_METADATA, request.SerializeToString(), deadline_of(gateway, call), (model.name, choice)
    )


async def _status(gateway: Gateway, message: bytes, call: Call) -> bytes:
    """GetModelStatus, as one replica sees it."""
    spec = read(m.GetModelStatusRequest, message).model_spec
    if not spec.name:
        raise invalid("Missing ModelSpec")
    subject = (_configured(gateway, call, spec.name).name, Choice(version=_asked(spec).version))
    return await gateway.server.forward(methods.GET_MODEL_STATUS, message, deadline_of(gateway, call), subject)


SERVING: Final[dict[str, Answer]] = {
    methods.PREDICT.path: partial(_predict, methods.PREDICT, "tensors"),
    methods.CLASSIFY.path: partial(_predict, methods.CLASSIFY, "examples"),
    methods.REGRESS.path: partial(_predict, methods.REGRESS, "examples"),
    methods.MULTI_INFERENCE.path: _multi_inference,
    methods.GET_MODEL_METADATA.path: _metadata,
    methods.GET_MODEL_STATUS.path: _status,
}
"""What answers a method, by its path. HandleReloadConfigRequest is not here: replicas follow their file."""


def _asked(spec: m.ModelSpec) -> Choice:
    if spec.HasField("version"):
        return Choice(version=spec.version.value)
    return Choice(label=spec.version_label) if spec.version_label else NEWEST


def _configured(gateway: Gateway, call: Call, name: str) -> Model:
    call.require(name)
    model = gateway.active.models.get(name)
    if model is None:
        raise RpcError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
    return model


def _mostly(model: Model, call: Call) -> Choice:
    """Where a prediction of this client goes, or most of them when it has no sticky key."""
    sticky = model.router.sticky if model.router is not None else None
    key = sticky_key(sticky, call, call.fields)
    return model.choose(key, 0.0) if key is not None else routed(model)


def _first_version(response: bytes) -> int:
    try:
        results = m.MultiInferenceResponse.FromString(response).results
    except DecodeError as error:
        raise RpcError(Code.INTERNAL, f"the model server's response cannot be decoded: {error}") from error
    return results[0].model_spec.version.value if results else 0
