"""One gRPC call on its way: its metadata, its deadline, what is counted of it, and how a failure leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError, Message

from gateway.addresses import plain
from gateway.api.grpc.reading import Reading
from gateway.api.http import REQUEST_ID_MAX, new_request_id
from gateway.api.predict import Ask, Exchange, admitted, allowed_ms, as_gateway_error
from gateway.backends.rpc import RpcError
from gateway.errors import BadRequest, GatewayError
from gateway.gateway import Gateway
from gateway.guard.access.caller import Caller
from gateway.guard.memory import Share
from gateway.observe.access_log import Entry, described, now
from gateway.observe.context import OUT, TraceContext, continued
from gateway.observe.trace import CACHE_STATUS, Trace
from gateway.routing.labels import Choice
from gateway.settings import Limits
from tfserving.wire.status import HTTP_STATUS, Code, StatusError

log = logging.getLogger("gateway.grpc")

Context = Any
"""`grpc.aio.ServicerContext`; grpcio has no types."""

Answer = Callable[[Gateway, bytes, "Call"], Awaitable[bytes]]
"""What answers the message of a call. Errors: GatewayError, RpcError, StatusError."""

Read = Callable[[Share], Awaitable[bytes]]
"""What reads the message of a call. Errors: GatewayError."""

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_CODE_OF_HTTP: Final = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    408: Code.DEADLINE_EXCEEDED,
    413: Code.RESOURCE_EXHAUSTED,
    429: Code.RESOURCE_EXHAUSTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
"""The gateway's own failures, which have an HTTP status only."""


class Call:
    """One call: its metadata by lower-case key (of a repeated key the last value), and who makes it."""

    def __init__(self, context: Context, memory: Share) -> None:
        self.context = context
        self.memory = memory
        self.fields: Mapping[str, str] = {
            key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
        }
        given = self.fields.get("x-request-id", "")
        self.id = given if 0 < len(given) <= REQUEST_ID_MAX else new_request_id()
        self.caller: Caller | None = None
        """Known where the gateway asks for credentials."""
        self.status = 200
        """What the outcome is over HTTP."""
        self.traced: TraceContext | None = continued(self.header("traceparent"))
        """The trace that the client has begun."""
        self.trace: Trace | None = None
        """What is known of a prediction."""

    def header(self, name: str) -> str | None:
        """The value of a key."""
        return self.fields.get(name)

    async def left(self) -> None:
        """Never returns: grpcio cancels a call whose client has left."""
        await asyncio.get_running_loop().create_future()

    def require(self, model: str | None) -> None:
        """That the caller may ask for a model, or for what concerns none. Errors: Forbidden, TooManyRequests."""
        if self.caller is not None:
            self.caller.require(model)

    async def end(self, error: GatewayError | RpcError | StatusError) -> NoReturn:
        """End the call with the status of an error."""
        failure = as_gateway_error(error)
        self.status = failure.status
        code = error.code if isinstance(error, RpcError | StatusError) else code_of(error)
        trailing = [("x-request-id", self.id)]
        if failure.retry_after is not None:
            trailing.append(("grpc-retry-pushback-ms", str(failure.retry_after * 1000)))
        await self.context.abort(_CODES[code], error.message, tuple(trailing))
        raise AssertionError("abort raises")


async def answered(gateway: Gateway, call: Call, name: str, choice: Choice, ask: Ask[bytes], document: Any) -> bytes:
    """Answer a prediction for model `name`: let in, routed, counted. Errors: GatewayError, RpcError, StatusError."""
    call.require(name)
    exchange = Exchange(
        request=call, active=gateway.active, asked=choice, model_name=name, trace=Trace(), memory=call.memory
    )
    try:
        exchange.deadline = deadline_of(gateway, call)
        response = await admitted(gateway, exchange, lambda: (ask, document))
    except (GatewayError, RpcError, StatusError) as error:
        failure = as_gateway_error(error)
        if failure.stage == "admission":
            gateway.metrics.shed.add(failure.reason or "deadline")
        exchange.trace.finish(gateway.metrics, failure.status, failure.stage)
        call.trace = exchange.trace
        raise
    exchange.trace.finish(gateway.metrics, 200, "")
    call.trace = exchange.trace
    trailing = [("x-request-id", call.id)]
    if exchange.trace.cache:
        trailing.append(("cache-status", CACHE_STATUS[exchange.trace.cache].decode()))
    call.context.set_trailing_metadata(tuple(trailing))
    return response


def deadline_of(gateway: Gateway, call: Call) -> float:
    """Loop time of the client's deadline, of its x-request-timeout-ms or of the gateway's limit, whichever is first."""
    limits: Limits = gateway.active.settings.limits
    seconds = allowed_ms(call, limits) / 1000
    remaining = call.context.time_remaining()
    return gateway.timers.time() + (seconds if remaining is None else min(seconds, remaining))


def code_of(error: GatewayError) -> Code:
    """The canonical code of a failure of the gateway itself."""
    return _CODE_OF_HTTP.get(error.status, Code.INTERNAL)


M = TypeVar("M", bound=Message)


def read(kind: type[M], message: bytes) -> M:
    """A message of a call. Errors: BadRequest for bytes that are none."""
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise BadRequest(f"the message cannot be decoded: {error}", stage="decode") from error


def handled(gateway: Gateway, path: str, answer: Answer, reading: Reading, *, guarded: bool) -> Any:
    """A handler of the unary method `path`, which takes and gives bytes. An unexpected failure is logged and INTERNAL.
    To grpcio it is one that takes a stream, of which nothing is read before it is asked for.

    A `guarded` method asks for credentials, where the gateway does, before anything of the message is read.
    """

    async def handle(messages: AsyncIterator[bytes], context: Context) -> bytes:
        call, tally = Call(context, Share(gateway.memory)), gateway.tally
        tally.accepted += 1
        started, response = perf_counter(), b""
        span = None
        if gateway.spans is not None:
            names = {"rpc.system": "grpc", "rpc.method": path, "client.address": _address(context.peer())}
            span = gateway.spans.begin(path, call.header("traceparent"), names)
            call.traced = span.context
        if call.traced is not None:
            OUT.set(call.traced.traceparent)  # the task of a call is its own
        try:
            with call.memory:
                response = await _let_in(gateway, call, answer, partial(reading.read, messages), guarded=guarded)
        except grpc.aio.AbortError:
            tally.answered += 1
            raise
        except BaseException:  # the client left, or the process ends
            tally.left += 1
            call.status = HTTP_STATUS[Code.CANCELLED]
            raise
        finally:
            if span is not None:
                span.end(call.status, call.trace)
            if call.caller is not None:
                gateway.metrics.callers.add(call.caller.group, str(call.status))
            if gateway.access_log.wants(call.status):
                gateway.access_log.add(_entry(call, path, len(response), perf_counter() - started))
        tally.answered += 1
        return response

    return grpc.stream_unary_rpc_method_handler(handle)


def _entry(call: Call, path: str, size: int, seconds: float) -> Entry:
    """The line of a call; its method is that of HTTP/2, its status what the outcome is over HTTP."""
    entry = Entry(
        time=now(),
        request_id=call.id,
        method="POST",
        path=path,
        status=call.status,
        ms=round(seconds * 1000, 3),
        bytes=size,
        client=_address(call.context.peer()),
        caller=call.caller.name if call.caller is not None else "",
    )
    if call.traced is not None:
        entry.trace_id, entry.span_id = call.traced.trace, call.traced.span
    if call.trace is not None:
        described(entry, call.trace)
    return entry


def _address(peer: str) -> str:
    """The address of `ipv4:127.0.0.1:5000` or `ipv6:[::1]:5000`, which grpcio may write with %5B."""
    return plain(unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]"))


async def _let_in(gateway: Gateway, call: Call, answer: Answer, read: Read, *, guarded: bool) -> bytes:
    try:
        if guarded and not gateway.door.open:
            call.caller = await gateway.door.caller(call.header)
        return await answer(gateway, await read(call.memory), call)
    except GatewayError as error:
        if error.denied:
            gateway.metrics.denied.add(error.denied)
        if error.reason == "memory" and call.trace is None:
            gateway.metrics.shed.add(error.reason)
        await call.end(error)
    except (RpcError, StatusError) as error:
        await call.end(error)
    except Exception:
        log.exception("a gRPC call failed (x-request-id %s)", call.id)
        await call.end(GatewayError(f"internal error; its log entry has x-request-id {call.id}"))
