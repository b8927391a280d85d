"""One gRPC call on its way: its metadata, its deadline, what is counted of it, and how a failure leaves."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from gateway.api.http import REQUEST_ID_MAX, new_request_id
from gateway.api.predict import Ask, Exchange, admitted, allowed_ms, as_gateway_error
from gateway.backends.rpc import RpcError
from gateway.errors import BadRequest, GatewayError
from gateway.gateway import Gateway
from gateway.guard.access.caller import Caller
from gateway.observe.trace import Trace
from gateway.routing.labels import Choice
from gateway.settings import Limits
from tfserving.wire.status import Code, StatusError

log = logging.getLogger("gateway.grpc")

Context = Any
"""`grpc.aio.ServicerContext`; grpcio has no types."""

_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""Who calls; None where anybody may. Every call has a task of its own."""

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


class Metadata:
    """The metadata of a call, by lower-case key; of a repeated key the last value."""

    def __init__(self, context: Context) -> None:
        self.fields: Mapping[str, str] = {
            key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
        }
        given = self.fields.get("x-request-id", "")
        self.id = given if 0 < len(given) <= REQUEST_ID_MAX else new_request_id()

    def header(self, name: str) -> str | None:
        """The value of a key."""
        return self.fields.get(name)


async def let_in(gateway: Gateway, context: Context) -> None:
    """Find out who calls, where the config asks for that. Errors: GatewayError for somebody who is not known."""
    if gateway.door.open:
        return
    try:
        _caller.set(await gateway.door.caller(Metadata(context).header))
    except GatewayError as error:
        gateway.metrics.denied.add(error.denied)
        raise


def allow(gateway: Gateway, model: str | None) -> None:
    """That whoever calls may use a model. Errors: GatewayError."""
    caller = _caller.get()
    if caller is None:
        return
    try:
        caller.require(model)
    except GatewayError as error:
        gateway.metrics.denied.add(error.denied)
        raise


async def answered(
    gateway: Gateway, context: Context, name: str, choice: Choice, ask: Ask[bytes], document: Any
) -> bytes:
    """Answer a prediction for model `name`: let in, routed, counted. Ends the call with a status where that fails."""
    metadata = Metadata(context)
    exchange = Exchange(request=metadata, active=gateway.active, asked=choice, model_name=name, trace=Trace())
    try:
        allow(gateway, name)
        exchange.deadline = deadline_of(gateway, context, metadata)
        response = await admitted(gateway, exchange, lambda: (ask, document))
    except (GatewayError, RpcError, StatusError) as error:
        failure = as_gateway_error(error)
        if failure.stage == "admission":
            gateway.metrics.shed.add(failure.reason or "deadline")
        exchange.trace.finish(gateway.metrics, failure.status, failure.stage)
        await end(context, error, metadata)
    exchange.trace.finish(gateway.metrics, 200, "")
    context.set_trailing_metadata((("x-request-id", metadata.id),))
    return response


async def plain(gateway: Gateway, context: Context, name: str, answer: Callable[[float], Awaitable[bytes]]) -> bytes:
    """Answer what is no prediction, such as a question for metadata of model `name`; `answer` gets the deadline."""
    metadata = Metadata(context)
    try:
        allow(gateway, name)
        return await answer(deadline_of(gateway, context, metadata))
    except (GatewayError, RpcError, StatusError) as error:
        await end(context, error, metadata)


def deadline_of(gateway: Gateway, context: Context, metadata: Metadata) -> float:
    """Loop time of the client's deadline, of its x-request-timeout-ms or of the gateway's limit, whichever is first."""
    limits: Limits = gateway.active.settings.limits
    seconds = allowed_ms(metadata, limits) / 1000
    remaining = context.time_remaining()
    return gateway.timers.time() + (seconds if remaining is None else min(seconds, remaining))


async def end(context: Context, error: GatewayError | RpcError | StatusError, metadata: Metadata) -> NoReturn:
    """End a call with the status of an error."""
    code = error.code if isinstance(error, RpcError | StatusError) else code_of(error)
    trailing = [("x-request-id", metadata.id)]
    retry_after = as_gateway_error(error).retry_after
    if retry_after is not None:
        trailing.append(("grpc-retry-pushback-ms", str(retry_after * 1000)))
    await context.abort(_CODES[code], error.message, tuple(trailing))
    raise AssertionError("abort raises")


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


def _count(gateway: Gateway, code: str) -> None:
    caller = _caller.get()
    if caller is not None:
        gateway.metrics.callers.add(caller.group, code)


def handled(
    gateway: Gateway, answer: Callable[[Gateway, bytes, Context], Awaitable[bytes]], *, guarded: bool = True
) -> Any:
    """A handler of a unary method that takes and gives bytes; an unexpected failure is logged and INTERNAL. Where the
    config asks who calls, a method that is `guarded` answers nobody else."""

    async def handle(message: bytes, context: Context) -> bytes:
        tally = gateway.tally
        tally.accepted += 1
        try:
            if guarded:
                await let_in(gateway, context)
            response = await answer(gateway, message, context)
        except grpc.aio.AbortError:
            tally.answered += 1
            _count(gateway, "failed")
            raise
        except GatewayError as error:  # before the call was anybody's
            tally.answered += 1
            await end(context, error, Metadata(context))
        except Exception:
            identity = Metadata(context).id
            log.exception("a gRPC call failed (x-request-id %s)", identity)
            tally.answered += 1
            text = f"internal error; its log entry has x-request-id {identity}"
            await context.abort(grpc.StatusCode.INTERNAL, text, (("x-request-id", identity),))
        except BaseException:  # the client left, or the process ends
            tally.left += 1
            raise
        tally.answered += 1
        _count(gateway, "OK")
        return response

    return grpc.unary_unary_rpc_method_handler(handle)
