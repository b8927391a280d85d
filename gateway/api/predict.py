"""`:predict` with its three kinds of body: `records`, and TensorFlow Serving's `instances` and `inputs`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import unquote

import msgspec

from gateway.active import Active, Model
from gateway.api.attempt import Answer
from gateway.api.http import JSON, ClientGone, Header, Request, Response, whole_number
from gateway.api.large.messages import Predicting, PredictTask
from gateway.api.large.reader import LARGE
from gateway.api.large.records import OUTLINE_BYTES, LargeRecords, decode_outline
from gateway.api.tensors import Asked, read_document, small
from gateway.backends.model_server import Metadata
from gateway.backends.rpc import RpcError
from gateway.errors import BadRequest, DeadlinePassed, FromModelServer, GatewayError, RequestTimeout
from gateway.gateway import Gateway
from gateway.guard.admission import NORMAL, PRIORITIES
from gateway.guard.memory import Share
from gateway.observe.trace import BYPASS, CACHE_STATUS, UNKNOWN, Trace
from gateway.routing.labels import NEWEST, Choice
from gateway.settings import Limits, Sticky
from tfserving.json.cost import decoded_bytes
from tfserving.json.predict import Document
from tfserving.wire.status import Code, StatusError

MAX_VERSION: Final = 1 << 63
FROM_THE_VERSION: Final = frozenset({"backend", "interpret", "spec"})
"""Stages at which a request fails because of the version that was asked."""
BUSY_STATUSES: Final = frozenset({429, 503, 504})
RECORD_KEYS: Final = frozenset({"version", "metadata", "records"})

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Head(Protocol):
    """The head of a request of any protocol."""

    id: str

    def header(self, name: str) -> str | None:
        """The value of a header or of a metadata key, by its lower-case name."""

    async def left(self) -> None:
        """Returns when the client has left."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request on its way: what is known of it so far, for its response and its metrics."""

    request: Head
    active: Active
    asked: Choice
    model_name: str
    trace: Trace
    memory: Share
    deadline: float = 0.0
    """Loop time; known once the head has been read."""
    metadata: dict[str, object] | None = None


R = TypeVar("R")
Ask = Callable[[Gateway, Exchange, Any], Awaitable[R]]
"""What answers a document of one kind."""
Read = Callable[[Exchange, bytes], tuple[Ask[Response], Any]]
"""What reads a body: the document, and what answers it. Errors: GatewayError, StatusError."""


async def predict(gateway: Gateway, request: Request, params: Mapping[str, str | None]) -> Response:
    """Answer one prediction request, whatever comes of it."""
    return await respond(gateway, request, params, _read)


async def respond(gateway: Gateway, request: Request, params: Mapping[str, str | None], read: Read) -> Response:
    """Answer one request for a model, whatever comes of it: let in, routed, counted; `read` makes sense of its body."""
    version = whole_number(params["version"], most=MAX_VERSION) if params["version"] is not None else None
    if version == MAX_VERSION:
        return Response(status=400)  # TensorFlow Serving loses the message on this path.
    active, label = gateway.active, params["label"]
    exchange = Exchange(
        request=request,
        active=active,
        asked=Choice(version=version, label=unquote(label) if label else None),
        model_name=unquote(params["model"] or ""),
        trace=Trace(),
        memory=Share(gateway.memory),
    )
    stage = ""
    try:
        with exchange.memory:
            response = await _answer(gateway, exchange, request, read)
    except (GatewayError, RpcError, StatusError) as error:
        failure = as_gateway_error(error)
        stage = failure.stage
        if stage == "admission":
            gateway.metrics.shed.add(failure.reason or "deadline")
        response = error_response(failure, exchange.metadata)
    exchange.trace.finish(gateway.metrics, response.status, stage)
    request.trace = exchange.trace
    if exchange.trace.cache:
        response = replace(response, headers=(*response.headers, (b"cache-status", CACHE_STATUS[exchange.trace.cache])))
    if request.header("x-server-timing") is not None:
        timing = (b"server-timing", exchange.trace.server_timing())
        response = replace(response, headers=(*response.headers, timing))
    return response


def as_gateway_error(error: GatewayError | RpcError | StatusError) -> GatewayError:
    """Any expected failure as the client sees it."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, StatusError):
        return FromModelServer(error.code, error.message, stage="decode")
    if error.local and error.code == Code.DEADLINE_EXCEEDED:
        return DeadlinePassed(error.message, stage="backend")
    return FromModelServer(error.code, error.message, stage="backend")


def error_response(error: GatewayError, metadata: dict[str, object] | None) -> Response:
    """The response for an error; `details` and `metadata` only where there are any."""
    body: dict[str, object] = {"error": error.message}
    if error.details:
        body["details"] = error.details
    if metadata is not None:
        body["metadata"] = metadata
    headers: tuple[Header, ...] = (JSON,)
    if error.retry_after is not None:
        headers = (JSON, (b"retry-after", b"%d" % error.retry_after))
    if error.status == 401:
        headers = (JSON, (b"www-authenticate", b"Bearer"))
    return Response(status=error.status, body=_encode(body), headers=headers)


async def _answer(gateway: Gateway, exchange: Exchange, request: Request, read: Read) -> Response:
    limits, trace = exchange.active.settings.limits, exchange.trace
    exchange.deadline = gateway.timers.time() + allowed_ms(request, limits) / 1000
    gateway.admission.refuse_early(_counted_as(exchange), exchange.deadline, _priority(request, limits))
    try:
        async with gateway.timers.limit(exchange.deadline):
            body = await request.body(limits.max_body_bytes, exchange.memory)
    except TimeoutError as error:
        raise RequestTimeout("the body did not arrive within the request's deadline", stage="read") from error
    trace.mark("read")
    return await admitted(gateway, exchange, partial(read, exchange, body))


async def admitted(gateway: Gateway, exchange: Exchange, read: Callable[[], tuple[Ask[R], Any]]) -> R:
    """Let a request in and have it handled, by the fallback label where that is due; `read` makes sense of its body.

    Errors: GatewayError, RpcError, StatusError.
    """
    model, priority = _counted_as(exchange), _priority(exchange.request, exchange.active.settings.limits)
    entered = await gateway.admission.enter(model, exchange.deadline, priority)
    try:
        exchange.trace.mark("admission")
        ask, document = read()
        try:
            return await ask(gateway, exchange, document)
        except (GatewayError, RpcError, StatusError) as error:
            if not _falls_back(gateway, exchange, as_gateway_error(error)):
                raise
        return await ask(gateway, exchange, document)
    finally:
        gateway.admission.leave(model, entered)


def _counted_as(exchange: Exchange) -> str:
    """The model, or UNKNOWN for a name that a client made up."""
    return exchange.model_name if exchange.model_name in exchange.active.models else UNKNOWN


def _falls_back(gateway: Gateway, exchange: Exchange, failure: GatewayError) -> bool:
    """Whether another label shall answer instead; then the failure is counted, and the exchange made ready for it.

    Only for requests that the gateway itself had routed, and for failures that come from the version: what is busy
    gets no second request.
    """
    model = exchange.active.models.get(exchange.model_name)
    routing = model.settings.routing if model is not None else None
    other, trace = routing.fallback if routing is not None else None, exchange.trace
    if other is None or exchange.asked != NEWEST or trace.label in (other, "", UNKNOWN):
        return False
    if failure.stage not in FROM_THE_VERSION or failure.status in BUSY_STATUSES:
        return False
    trace.finish(gateway.metrics, failure.status, failure.stage)
    gateway.metrics.fallbacks.add(exchange.model_name, trace.label)
    exchange.asked, exchange.trace = Choice(label=other), Trace()
    exchange.trace.kind = trace.kind
    return True


def _read(exchange: Exchange, body: bytes) -> tuple[Ask[Response], Document]:
    if len(body) > LARGE:
        return _read_large(exchange, body)
    exchange.memory.take(decoded_bytes(body))
    document = _record_document(body)
    if document is not None:
        exchange.trace.kind = "records"
        return _predict_records, document
    exchange.trace.kind = "tensors"
    return _predict_tensors, read_document(body)


def _read_large(exchange: Exchange, body: bytes) -> tuple[Ask[Response], Any]:
    """Of records the outline; of tensors nothing yet, they are read in a process of their own."""
    if b'"records"' not in body:
        exchange.memory.take(decoded_bytes(body))
        exchange.trace.kind = "tensors"
        return _predict_large, body
    exchange.memory.take(len(body) + OUTLINE_BYTES * body.count(b"{"))
    exchange.trace.kind = "records"
    return _predict_records, large_document(body)


async def _predict_large(gateway: Gateway, exchange: Exchange, body: bytes) -> Response:
    model, choice = target(gateway, exchange, {})

    async def read(metadata: Metadata) -> Asked:
        task = PredictTask(metadata.signatures.SerializeToString())
        reply = await wanted(exchange, gateway.large.read(task, body, exchange.deadline))
        assert isinstance(reply, Predicting)
        return Asked(signature=reply.signature, by_rows=reply.by_rows, inputs=reply.inputs)

    answer = await gateway.tensors.predict(model, choice, read, exchange.deadline, exchange.trace)
    exchange.trace.mark("encode")
    return Response(body=answer, headers=(JSON, (b"x-model-version", exchange.trace.version.encode())))


async def wanted(exchange: Exchange, work: Coroutine[Any, Any, R]) -> R:
    """What comes of long work, which ends when its client leaves. Errors: those of the work, ClientGone."""
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(exchange.request.left())
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        task.cancel()
        leaving.cancel()


async def _predict_records(gateway: Gateway, exchange: Exchange, document: Document) -> Response:
    exchange.metadata = metadata = _metadata(document, exchange.request)
    records = _records(document, exchange.active.settings.limits)
    model, choice = target(gateway, exchange, metadata)
    exchange.trace.mark("decode")
    answer = await gateway.pipeline.predict(model, choice, records, exchange.deadline, exchange.trace)
    if gateway.sampler.on and exchange.request.header("x-no-sampling") is None:
        gateway.sampler.add(model.name, records)
    response = Response(body=_record_answer(model, choice, answer, metadata))
    exchange.trace.mark("encode")
    shadow = model.settings.routing.shadow if model.settings.routing is not None else None
    if shadow is not None and exchange.asked == NEWEST and choice.label != shadow:
        seconds = exchange.active.settings.limits.timeout_ms / 1000
        gateway.shadow.mirror(model, shadow, records, answer.predictions, seconds)
    return response


async def _predict_tensors(gateway: Gateway, exchange: Exchange, document: Document) -> Response:
    model, choice = target(gateway, exchange, {})
    body = await gateway.tensors.predict(model, choice, small(document), exchange.deadline, exchange.trace)
    exchange.trace.mark("encode")
    return Response(body=body, headers=(JSON, (b"x-model-version", exchange.trace.version.encode())))


def _record_document(body: bytes) -> Document | None:
    """The body when it is a record request, else None.

    Errors: BadRequest for one that is no JSON; StatusError when TensorFlow Serving's more lenient reader gives up too.
    """
    if b'"records"' not in body:
        return None
    try:
        document = _decode(body)
    except RecursionError as error:
        raise BadRequest("the JSON is nested too deeply", stage="decode") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        document = read_document(body)  # Reads NaN and Infinity, so that the error can name record and feature.
        try:
            body.decode()
        except UnicodeDecodeError:
            raise BadRequest(f"the body is not valid JSON: {error}", stage="decode") from error
    return document if isinstance(document, dict) and "records" in document else None


def _metadata(document: Document, request: Head) -> dict[str, object]:
    metadata = document.get("metadata", {})
    if not isinstance(metadata, dict):
        raise BadRequest("metadata: expected an object", stage="decode")
    echoed: dict[str, object] = {"request_id": request.id, **metadata}
    return echoed


def large_document(body: bytes) -> dict[str, Any]:
    """The body of a record request without its records decoded. Errors: BadRequest."""
    try:
        outline = decode_outline(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not a valid record request: {error}", stage="decode") from error
    return {"records": LargeRecords(outline.records), "version": outline.version, "metadata": outline.metadata}


def _records(document: Mapping[str, Any], limits: Limits) -> Sequence[Mapping[str, object]]:
    unknown = document.keys() - RECORD_KEYS
    if unknown:
        raise BadRequest(f"unknown key '{min(unknown)[:60]}' beside records", stage="decode")
    if document.get("version", "v1") != "v1":
        raise BadRequest('version: expected "v1"', stage="decode")
    records = document["records"]
    if not isinstance(records, list | LargeRecords):
        raise BadRequest("records: expected an array of objects", stage="decode")
    if not records:
        raise BadRequest("records: there are none; send at least one", stage="decode")
    if len(records) > limits.max_records:
        raise BadRequest(
            f"records: {len(records)} is more than {limits.max_records} (limits.max_records)", stage="decode"
        )
    return records  # That each is an object is checked with everything else of it.


def target(gateway: Gateway, exchange: Exchange, metadata: Mapping[str, object]) -> tuple[Model, Choice]:
    """The model and what to ask of it. Errors: RpcError as TensorFlow Serving would answer for an unknown model."""
    name, choice, trace = exchange.model_name, exchange.asked, exchange.trace
    model = exchange.active.models.get(name)
    if model is None:
        if choice.label is not None:
            raise RpcError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {choice.label}")
        which = f"Latest({name})" if choice.version is None else f"Specific({name}, {choice.version})"
        raise RpcError(Code.NOT_FOUND, f"Servable not found for request: {which}")
    trace.model = name
    if model.settings.cache_seconds is not None and _uncached(exchange.request):
        trace.looked_up(BYPASS)
    if choice.version is None and choice.label is None:
        sticky = model.router.sticky if model.router is not None else None
        choice = model.choose(sticky_key(sticky, exchange.request, metadata), gateway.chance())
    if choice.label is not None:
        trace.label = choice.label if choice.label in model.settings.labels else UNKNOWN
    return model, choice


def _uncached(request: Head) -> bool:
    """Whether a client wants a response of a model server itself."""
    asked = request.header("cache-control") or ""
    return "no-cache" in asked or "no-store" in asked


def sticky_key(sticky: Sticky | None, request: Head, metadata: Mapping[str, object]) -> str | None:
    """The key of a request that goes to one label whenever it comes; None when it has none."""
    if sticky is None:
        return None
    if sticky.header is not None:
        return request.header(sticky.header.lower())
    value = metadata.get(sticky.metadata or "")
    return str(value) if isinstance(value, str | int | float) else None


def _record_answer(model: Model, choice: Choice, answer: Answer, metadata: dict[str, object]) -> bytes:
    metadata |= {"model": model.name, "model_version": answer.version}
    if choice.label is not None:
        metadata["version_label"] = choice.label
    body: dict[str, object] = {"version": "v1", "predictions": answer.predictions, "metadata": metadata}
    if answer.outputs:
        body["outputs"] = answer.outputs
    return _encode(body)


def _priority(request: Head, limits: Limits) -> int:
    """What a client says of its request in the header of `limits.priority_header`. Errors: BadRequest."""
    priority = request.header(limits.priority_header.lower()) if limits.priority_header is not None else None
    if priority is None:
        return NORMAL
    if priority not in PRIORITIES:
        known = ", ".join(PRIORITIES)
        raise BadRequest(f"{limits.priority_header}: expected one of {known}, got '{priority[:60]}'", stage="read")
    return PRIORITIES[priority]


def allowed_ms(request: Head, limits: Limits) -> int:
    """Milliseconds until a response is of no more use."""
    asked, milliseconds = request.header("x-request-timeout-ms"), limits.timeout_ms
    if asked is not None:
        wanted = whole_number(asked, most=milliseconds) if asked.isdecimal() else 0
        if wanted == 0:
            raise BadRequest(f"x-request-timeout-ms: expected a whole number above 0, got '{asked[:60]}'", stage="read")
        milliseconds = wanted
    return milliseconds
