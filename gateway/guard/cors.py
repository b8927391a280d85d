"""Which web pages of other origins a browser may let ask (the CORS protocol of the Fetch standard)."""

from __future__ import annotations

from gateway.api.http import Header, Request, Response
from gateway.settings import Cors

ASKED = "content-type, content-encoding, authorization, x-api-key, x-request-id, x-request-timeout-ms, traceparent"
EXPOSED_HEADERS = b"x-request-id, x-model-version, retry-after, server-timing"


def preflight(cors: Cors | None, request: Request) -> Response | None:
    """The response to a browser that asks whether it may ask; None when this is no such question."""
    method = request.header("access-control-request-method")
    if request.method != "OPTIONS" or method is None or cors is None:
        return None
    if not _allowed(cors, request.header("origin")):
        return Response(status=204, headers=())
    headers = (
        (b"access-control-allow-methods", b"GET, HEAD, POST"),
        (b"access-control-allow-headers", ASKED.encode()),
        (b"access-control-max-age", b"%d" % cors.max_age_seconds),
    )
    return Response(status=204, headers=headers)


def _allowed(cors: Cors, origin: str | None) -> bool:
    return origin is not None and (origin in cors.origins or "*" in cors.origins)


def allowing(cors: Cors | None, request: Request) -> tuple[Header, ...]:
    """Headers of a response that let a page of the request's origin read it."""
    origin = request.header("origin") if cors is not None else None
    if cors is None or origin is None:
        return ()
    vary = (b"vary", b"origin")
    if not _allowed(cors, origin):
        return (vary,)
    named = b"*" if "*" in cors.origins and not cors.credentials else origin.encode("latin-1")
    headers = ((b"access-control-allow-origin", named), (b"access-control-expose-headers", EXPOSED_HEADERS), vary)
    return (*headers, (b"access-control-allow-credentials", b"true")) if cors.credentials else headers
