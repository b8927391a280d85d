"""The Open Inference Protocol's GRPCInferenceService."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.api.grpc.calls import Answer, Call, answered, deadline_of, read
from gateway.api.predict import Exchange, target
from gateway.api.v2 import models as v2
from gateway.api.v2.datatypes import (
    TensorProblem,
    datatype_of,
    dtype_named,
    from_raw,
    from_values,
    name_of,
    shape_given,
    to_raw,
)
from gateway.backends.model_server import Prediction
from gateway.errors import BadRequest, GatewayError
from gateway.gateway import Gateway
from tfserving.wire import inference_pb2 as pb

SERVICE: Final = "inference.GRPCInferenceService"

CONTENTS: Final = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""The field of typed contents of a datatype; FP16 and BF16 travel as raw contents only."""


async def _live(gateway: Gateway, message: bytes, call: Call) -> bytes:
    return pb.ServerLiveResponse(live=True).SerializeToString()


async def _ready(gateway: Gateway, message: bytes, call: Call) -> bytes:
    return pb.ServerReadyResponse(ready=not await v2.missing(gateway)).SerializeToString()


async def _server(gateway: Gateway, message: bytes, call: Call) -> bytes:
    call.require(None)
    found = pb.ServerMetadataResponse(name=v2.SERVER_NAME, version=v2.server_version(), extensions=v2.EXTENSIONS)
    return found.SerializeToString()


async def _model_ready(gateway: Gateway, message: bytes, call: Call) -> bytes:
    request = read(pb.ModelReadyRequest, message)
    call.require(request.name)
    model, choice = v2.named(gateway, request.name, request.version)
    ready = await v2.why_unready(gateway, model, choice, deadline_of(gateway, call)) is None
    return pb.ModelReadyResponse(ready=ready).SerializeToString()


async def _model(gateway: Gateway, message: bytes, call: Call) -> bytes:
    request = read(pb.ModelMetadataRequest, message)
    call.require(request.name)
    model, choice = v2.named(gateway, request.name, request.version)
    found = await v2.described_model(gateway, model, choice, deadline_of(gateway, call))
    tensor = pb.ModelMetadataResponse.TensorMetadata
    return pb.ModelMetadataResponse(
        name=model.name,
        versions=found.versions,
        platform=v2.PLATFORM,
        inputs=[tensor(name=t.name, datatype=t.datatype, shape=t.shape) for t in found.inputs],
        outputs=[tensor(name=t.name, datatype=t.datatype, shape=t.shape) for t in found.outputs],
    ).SerializeToString()


async def _infer(gateway: Gateway, message: bytes, call: Call) -> bytes:
    request = read(pb.ModelInferRequest, message)
    choice = v2.choice_named(request.model_version)
    return await answered(gateway, call, request.model_name, choice, _ask, (call, request))


INFERENCE: Final[dict[str, Answer]] = {
    f"/{SERVICE}/{name}": answer
    for name, answer in (
        ("ServerLive", _live),
        ("ServerReady", _ready),
        ("ModelReady", _model_ready),
        ("ServerMetadata", _server),
        ("ModelMetadata", _model),
        ("ModelInfer", _infer),
    )
}
"""What answers a method, by its path."""
UNGUARDED: Final = frozenset({f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady"})
"""Methods that ask for no credentials, as the routes of REST."""


# ---- inference ------------------------------------------------------------------------------------------------------


async def _ask(gateway: Gateway, exchange: Exchange, asked: tuple[Call, pb.ModelInferRequest]) -> bytes:
    (call, request), trace = asked, exchange.trace
    trace.kind = "tensors"
    inputs = _inputs(request)
    parameters = {name: _value(parameter) for name, parameter in request.parameters.items()}
    model, choice = target(gateway, exchange, {**call.fields, **parameters})
    signature = parameters.get("signature_name", model.settings.signature)
    if not isinstance(signature, str):
        raise BadRequest("parameters.signature_name: expected text", stage="decode")
    trace.mark("decode")
    wanted = list(dict.fromkeys(output.name for output in request.outputs))
    prediction = await gateway.server.predict(model.name, choice, signature, inputs, exchange.deadline, trace, wanted)
    trace.mark("backend")
    trace.version = str(prediction.version)
    response = pb.ModelInferResponse(model_name=model.name, model_version=trace.version, id=request.id)
    if choice.label is not None:
        response.parameters["version_label"].string_param = choice.label
    _add_outputs(response, wanted or sorted(prediction.outputs), prediction, raw=_as_raw(parameters))
    trace.mark("encode")
    return response.SerializeToString()


def _inputs(request: pb.ModelInferRequest) -> dict[str, bytes]:
    """The inputs as serialized TensorProtos. Errors: BadRequest."""
    raw, given = request.raw_input_contents, request.inputs
    if not given:
        raise BadRequest("inputs: there are none", stage="decode")
    if raw and len(raw) != len(given):
        raise BadRequest(f"{len(raw)} raw_input_contents for {len(given)} inputs", stage="decode")
    inputs = {}
    for at, tensor in enumerate(given):
        try:
            inputs[tensor.name] = _tensor(tensor, raw[at] if raw else None)
        except TensorProblem as problem:
            raise BadRequest(f"input '{tensor.name}': {problem}", stage="decode") from problem
    if len(inputs) < len(given):
        raise BadRequest("inputs: one of them is given twice", stage="decode")
    return inputs


def _tensor(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> bytes:
    dtype, shape = dtype_named(tensor.datatype), shape_given(list(tensor.shape))
    if raw is not None:
        if tensor.HasField("contents"):
            raise TensorProblem("has both contents and raw_input_contents")
        return from_raw(dtype, shape, raw)
    field = CONTENTS.get(tensor.datatype)
    if field is None:
        raise TensorProblem(f"{tensor.datatype} is allowed in raw_input_contents only")
    return from_values(dtype, shape, list(getattr(tensor.contents, field)), infinite=True)


def _add_outputs(response: pb.ModelInferResponse, names: list[str], prediction: Prediction, *, raw: bool) -> None:
    typed = not raw and all(datatype_of(prediction.dtypes.get(name, 0)) in CONTENTS for name in names)
    for name in names:
        array = prediction.outputs.get(name)
        if array is None:
            raise GatewayError(f"the model server's response has no output '{name}'", stage="backend")
        number = prediction.dtypes[name]
        datatype = datatype_of(number)
        if datatype is None:
            what = f"output '{name}' has the type {name_of(number)}, which the protocol does not have"
            raise BadRequest(what, stage="encode")
        output = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if typed:
            getattr(output.contents, CONTENTS[datatype]).extend(array.ravel().tolist())
        else:
            response.raw_output_contents.append(to_raw(array))


def _as_raw(parameters: Mapping[str, object]) -> bool:
    """Outputs are raw, as most clients expect, unless a request says `binary_data_output: false`."""
    return parameters.get("binary_data_output") is not False


def _value(parameter: pb.InferParameter) -> object:
    kind = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, kind) if kind is not None else None
