"""The ASGI application: a table of routes, and the one place where an outcome becomes an HTTP response."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Final
from urllib.parse import unquote

from gateway.api import admin, examples, models
from gateway.api.http import ClientGone, Header, Message, Receive, Request, Response, Scope, Send
from gateway.api.predict import as_gateway_error, error_response, predict
from gateway.api.v2 import models as v2
from gateway.api.v2.infer import infer
from gateway.backends.rpc import RpcError
from gateway.errors import BadRequest, GatewayError, NotFound
from gateway.gateway import Gateway
from gateway.guard.cors import allowing, preflight
from gateway.observe.access_log import Entry, described, now
from gateway.observe.context import OUT
from gateway.observe.spans import GONE, RequestSpan, Spans

log = logging.getLogger("gateway.app")

LOGGED: Final = 512
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST"})
"""Methods that name a span; clients choose others freely."""
"""Characters of a path in the access log."""
CAREFUL: Final[tuple[Header, ...]] = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
"""Browsers neither guess what a response is, nor does anything on the way keep it."""

Handler = Callable[[Gateway, Request, Mapping[str, str | None]], Awaitable[Response]]

_MODEL: Final = r"/v1/models/(?P<model>[^/:]+)"
_CHOICE: Final = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"

_V2_MODEL: Final = r"/v2/models/(?P<model>[^/?]+)(?:/versions/(?P<version>[^/?]+)|/labels/(?P<label>[^/?]+))?"
_QUERY: Final = r"(?:\?.*)?"


@dataclass(frozen=True, slots=True)
class Route:
    """A method, a pattern of path and query as they were sent, and what answers them."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler
    guarded: bool = True
    """Whether a caller must show who they are, where the config asks for that."""


def _route(method: str, pattern: str, handler: Handler, *, guarded: bool = True) -> Route:
    return Route(method, re.compile(pattern, re.IGNORECASE | re.ASCII), handler, guarded)


def _if_public(page: Callable[[Gateway, models.Params], Awaitable[Response]]) -> Handler:
    """A page of the admin port, here only where the config says so."""

    async def answer(gateway: Gateway, request: Request, params: Mapping[str, str | None]) -> Response:
        if not gateway.active.settings.public_docs:
            raise _no_route(request)
        return await page(gateway, params)

    return answer


ROUTES: Final = (
    _route("POST", rf"{_MODEL}{_CHOICE}:predict", predict),
    _route("POST", rf"{_V2_MODEL}/infer{_QUERY}", infer),
    _route("POST", rf"{_MODEL}{_CHOICE}:classify", examples.classify),
    _route("POST", rf"{_MODEL}{_CHOICE}:regress", examples.regress),
    _route("GET", rf"{_MODEL}{_CHOICE}", models.status),
    _route("GET", rf"{_MODEL}{_CHOICE}/metadata", models.metadata),
    _route("GET", rf"{_MODEL}{_CHOICE}/schema", _if_public(admin.schema)),
    _route("GET", r"/v1/models", _if_public(admin.models)),
    _route("GET", r"/openapi\.json", _if_public(admin.openapi)),
    _route("GET", r"/docs", _if_public(admin.page), guarded=False),
    _route("GET", rf"/v2/?{_QUERY}", v2.server_metadata),
    _route("GET", rf"/v2/health/live{_QUERY}", v2.live, guarded=False),
    _route("GET", rf"/v2/health/ready{_QUERY}", v2.ready, guarded=False),
    _route("GET", rf"{_V2_MODEL}/?{_QUERY}", v2.model_metadata),
    _route("GET", rf"{_V2_MODEL}/ready{_QUERY}", v2.model_ready),
)
"""First match wins. Requests come first: they are what must be fast."""


class App:
    """The application that uvicorn runs."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        tally = self._gateway.tally
        tally.accepted += 1
        started = perf_counter()
        request = Request(scope, receive)
        span = None if self._gateway.spans is None else _begun(self._gateway.spans, request)
        if span is not None:
            request.context = span.context
        if request.context is not None:
            OUT.set(request.context.traceparent)
        try:
            response = await self._answer(request)
        except ClientGone:
            tally.left += 1
            if span is not None:
                span.end(GONE, request.trace)
            return
        await response.send(send, self._headers(request))
        if span is not None:
            span.end(response.status, request.trace)
        tally.answered += 1
        if self._gateway.access_log.wants(response.status):
            self._gateway.access_log.add(_entry(request, response, perf_counter() - started))
        if request.caller is not None:
            self._gateway.metrics.callers.add(request.caller.group, str(response.status))

    async def _answer(self, request: Request) -> Response:
        try:
            asked = preflight(self._gateway.active.settings.cors, request)
            if asked is not None:
                return asked
            method = "GET" if request.method == "HEAD" else request.method
            for route in ROUTES:
                if route.method == method:
                    match = route.pattern.fullmatch(request.target)
                    if match is not None:
                        params = match.groupdict()
                        if route.guarded and not self._gateway.door.open:
                            await self._let_in(request, params.get("model"))
                        return await route.handler(self._gateway, request, params)
            return _unrouted(request)
        except (GatewayError, RpcError) as error:
            return error_response(as_gateway_error(error), None)
        except ClientGone:
            raise
        except Exception:
            log.exception("%s %s failed (x-request-id %s)", request.method, request.target, request.id)
            return error_response(GatewayError(f"internal error; its log entry has x-request-id {request.id}"), None)

    async def attempt(self, path: str, key: str, body: bytes) -> Response:
        """A prediction that a user tries on the page of the admin port: let in as on the public port."""
        headers = [(b"x-api-key", key.encode("latin-1", "replace"))] if key else []
        scope = {"type": "http", "method": "POST", "raw_path": path.encode("latin-1", "replace"), "query_string": b"",
                 "headers": headers}  # fmt: skip

        given = iter([body])

        async def receive() -> Message:
            for whole in given:
                return {"type": "http.request", "body": whole, "more_body": False}
            await asyncio.get_running_loop().create_future()  # whoever asks does not leave
            raise AssertionError("this future has no result")

        return await self._answer(Request(scope, receive))

    async def _let_in(self, request: Request, model: str | None) -> None:
        """Errors: GatewayError for a caller that is not known, or may not do this."""
        try:
            request.caller = await self._gateway.door.caller(request.header)
            request.caller.require(unquote(model) if model else None)
        except GatewayError as error:
            self._gateway.metrics.denied.add(error.denied)
            raise

    def _headers(self, request: Request) -> tuple[Header, ...]:
        headers: tuple[Header, ...] = ((b"x-request-id", request.id.encode()), *CAREFUL)
        cors = self._gateway.active.settings.cors
        if cors is not None:
            headers += allowing(cors, request)
        last = self._gateway.draining or request.body_unasked
        return (*headers, (b"connection", b"close")) if last else headers


def _begun(spans: Spans, request: Request) -> RequestSpan:
    path = request.target.partition("?")[0][:LOGGED]
    known = {"http.request.method": request.method, "url.path": path, "client.address": request.client}
    name = request.method if request.method in METHODS else "HTTP"
    return spans.begin(name, request.header("traceparent"), known)


def _entry(request: Request, response: Response, seconds: float) -> Entry:
    entry = Entry(
        time=now(),
        request_id=request.id,
        method=request.method,
        path=request.target.partition("?")[0][:LOGGED],
        status=response.status,
        ms=round(seconds * 1000, 3),
        bytes=len(response.body),
        client=request.client,
        caller=request.caller.name if request.caller is not None else "",
    )
    if request.context is not None:
        entry.trace_id, entry.span_id = request.context.trace, request.context.span
    if request.trace is not None:
        described(entry, request.trace)
    return entry


def _unrouted(request: Request) -> Response:
    """OPTIONS: the methods of a path. Errors: GatewayError for any other method."""
    if request.method == "OPTIONS":
        methods = [r.method for r in ROUTES if request.target == "*" or r.pattern.fullmatch(request.target)]
        if methods:
            allowed = ["OPTIONS", *(["HEAD"] if "GET" in methods else []), *sorted(set(methods))]
            return Response(status=204, headers=((b"allow", ", ".join(allowed).encode()),))
    raise _no_route(request)


def _no_route(request: Request) -> GatewayError:
    """TensorFlow Serving answers 400, never 405, for whatever does not fit under /v1/."""
    if request.target.lower().startswith("/v1/"):
        return BadRequest(f"Malformed request: {request.method} {request.target}", stage="route")
    return NotFound(
        f"no such path: {request.method} {request.target}; health, metrics and routes are on the admin port",
        stage="route",
    )
