"""Inference by the Open Inference Protocol over REST."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.api.http import JSON, Header, Request, Response
from gateway.api.large.messages import Inferring, InferTask
from gateway.api.large.reader import LARGE
from gateway.api.predict import Ask, Exchange, respond, target, wanted
from gateway.api.v2.datatypes import TensorProblem, datatype_of, name_of, to_raw, to_values
from gateway.api.v2.models import choice_named
from gateway.api.v2.requests import HEADER, InferRequest, json_size, memory_needed, read_request
from gateway.backends.model_server import Prediction
from gateway.errors import BadRequest, GatewayError
from gateway.gateway import Gateway
from gateway.routing.labels import Choice
from tfserving.wire.tensors import DTYPES

BINARY: Final[Header] = (b"content-type", b"application/octet-stream")

Params = Mapping[str, str | None]


async def infer(gateway: Gateway, request: Request, params: Params) -> Response:
    """Inference, whatever comes of it."""
    return await respond(gateway, request, _with_label(params), _read)


def _read(exchange: Exchange, body: bytes) -> tuple[Ask[Response], Any]:
    exchange.trace.kind = "tensors"
    header = exchange.request.header(HEADER)
    exchange.memory.take(memory_needed(body, header))
    if json_size(body, header) > LARGE:
        return _infer_large, (body, header)
    return _infer, read_request(body, header)


async def _infer_large(gateway: Gateway, exchange: Exchange, given: tuple[bytes, str | None]) -> Response:
    body, header = given
    reply = await wanted(exchange, gateway.large.read(InferTask(header), body, exchange.deadline))
    assert isinstance(reply, Inferring)
    return await _infer(gateway, exchange, InferRequest(**msgspec.structs.asdict(reply)))


async def _infer(gateway: Gateway, exchange: Exchange, asked: InferRequest) -> Response:
    model, choice = target(gateway, exchange, asked.parameters)
    signature = asked.parameters.get("signature_name", model.settings.signature)
    if not isinstance(signature, str):
        raise BadRequest("parameters.signature_name: expected text", stage="decode")
    trace = exchange.trace
    trace.mark("decode")
    prediction = await gateway.server.predict(
        model.name, choice, signature, asked.inputs, exchange.deadline, trace, asked.outputs
    )
    trace.mark("backend")
    trace.version = str(prediction.version)
    response = _response(model.name, choice, asked, prediction)
    trace.mark("encode")
    return response


def _response(name: str, choice: Choice, asked: InferRequest, prediction: Prediction) -> Response:
    document: dict[str, object] = {"model_name": name, "model_version": str(prediction.version)}
    if asked.id is not None:
        document["id"] = asked.id
    if choice.label is not None:
        document["parameters"] = {"version_label": choice.label}
    document["outputs"] = outputs = []
    pieces: list[bytes] = []
    for output in asked.outputs or sorted(prediction.outputs):
        try:
            outputs.append(_output(output, prediction, asked, pieces))
        except TensorProblem as problem:
            raise BadRequest(f"output '{output}' {problem}", stage="encode") from problem
    text = _text(document)
    version_header = (b"x-model-version", str(prediction.version).encode())
    if not pieces:
        return Response(body=text, headers=(JSON, version_header))
    size = (HEADER.encode(), b"%d" % len(text))
    return Response(body=b"".join((text, *pieces)), headers=(BINARY, size, version_header))


def _output(name: str, prediction: Prediction, asked: InferRequest, pieces: list[bytes]) -> dict[str, object]:
    array = prediction.outputs.get(name)
    if array is None:
        raise GatewayError(f"the model server's response has no output '{name}'", stage="backend")
    number = prediction.dtypes[name]
    datatype = datatype_of(number)
    if datatype is None:
        raise TensorProblem(f"has the type {name_of(number)}, which the protocol does not have")
    described: dict[str, object] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
    if asked.binary.get(name, asked.all_binary):
        pieces.append(to_raw(array))
        described["parameters"] = {"binary_data_size": len(pieces[-1])}
    else:
        described["data"] = to_values(DTYPES[number], array)
    return described


def _text(document: dict[str, object]) -> bytes:
    """JSON; with NaN and Infinity, which JSON itself has no words for, as TensorFlow Serving writes them."""
    text = msgspec.json.encode(document)
    return json.dumps(document, separators=(",", ":")).encode() if b"null" in text else text


def _with_label(params: Params) -> dict[str, str | None]:
    """The parameters of a route whose version may be the name of a label."""
    given = dict(params)
    asked = given.get("version")
    if asked is not None and choice_named(asked).version is None:
        given["version"], given["label"] = None, asked
    return given
