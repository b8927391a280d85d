"""`:classify` and `:regress`: TensorFlow Serving's requests of Examples in JSON, by its rules and with its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from gateway.api.http import JSON, Request, Response
from gateway.api.large.messages import Examples, ExamplesTask
from gateway.api.large.reader import LARGE
from gateway.api.predict import Ask, Exchange, respond, target, wanted
from gateway.api.tensors import read_document
from gateway.backends.model_server import examples_request
from gateway.backends.rpc import RpcError
from gateway.gateway import Gateway
from tfserving.json.cost import decoded_bytes
from tfserving.json.examples import read_examples
from tfserving.json.values import is_utf8
from tfserving.json.writer import classification_body, regression_body
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.methods import Method
from tfserving.wire.status import Code, invalid

Params = Mapping[str, str | None]
Written = Callable[[bytes], tuple[bytes, int]]
"""The JSON and the version of a serialized response. Errors: DecodeError, StatusError."""


async def classify(gateway: Gateway, request: Request, params: Params) -> Response:
    """Classify, whatever comes of it."""
    return await respond(gateway, request, params, partial(_read, methods.CLASSIFY, _classified))


async def regress(gateway: Gateway, request: Request, params: Params) -> Response:
    """Regress, whatever comes of it."""
    return await respond(gateway, request, params, partial(_read, methods.REGRESS, _regressed))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examples:
    """Serialized Examples for one signature, and what becomes of the response."""

    method: Method
    write: Written
    signature: str
    examples: list[bytes]


def _read(method: Method, write: Written, exchange: Exchange, body: bytes) -> tuple[Ask[Response], Any]:
    exchange.trace.kind = "examples"
    exchange.memory.take(decoded_bytes(body))
    if len(body) > LARGE:
        return partial(_ask_large, method, write), body
    document = read_document(body)
    signature, examples = str(document.get("signature_name", "")), read_examples(document)
    return _ask, _examples(method, write, signature, examples)


def _examples(method: Method, write: Written, signature: str, examples: list[bytes]) -> _Examples:
    if not is_utf8(signature):
        raise invalid(f"No signature was found with the name: {signature}")
    return _Examples(method=method, write=write, signature=signature, examples=examples)


async def _ask_large(method: Method, write: Written, gateway: Gateway, exchange: Exchange, body: bytes) -> Response:
    reply = await wanted(exchange, gateway.large.read(ExamplesTask(), body, exchange.deadline))
    assert isinstance(reply, Examples)
    return await _ask(gateway, exchange, _examples(method, write, reply.signature, reply.examples))


async def _ask(gateway: Gateway, exchange: Exchange, asked: _Examples) -> Response:
    model, choice = target(gateway, exchange, {})
    trace = exchange.trace
    message = examples_request(model.name, choice, asked.signature, asked.examples)
    trace.mark("decode")
    answer = await gateway.server.forward(asked.method, message, exchange.deadline, (model.name, choice))
    trace.mark("backend")
    try:
        body, version = asked.write(answer)
    except DecodeError as error:
        raise RpcError(Code.INTERNAL, f"the model server's response cannot be decoded: {error}") from error
    trace.version = str(version)
    trace.mark("encode")
    return Response(body=body, headers=(JSON, (b"x-model-version", trace.version.encode())))


def _classified(answer: bytes) -> tuple[bytes, int]:
    response = m.ClassificationResponse.FromString(answer)
    return classification_body(response.result), response.model_spec.version.value


def _regressed(answer: bytes) -> tuple[bytes, int]:
    response = m.RegressionResponse.FromString(answer)
    return regression_body(response.result), response.model_spec.version.value
