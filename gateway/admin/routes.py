"""What the admin port answers, apart from health: a table of paths and pages."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.api import admin
from gateway.api.http import Response
from gateway.api.models import Params
from gateway.api.predict import as_gateway_error, error_response
from gateway.backends.rpc import RpcError
from gateway.errors import GatewayError, NotFound
from gateway.gateway import Gateway

log = logging.getLogger("gateway.admin")

Page = Callable[[Gateway, Params], Awaitable[Response]]

SCHEMA: Final = r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?/schema"

ROUTES: Final[tuple[tuple[re.Pattern[str], Page], ...]] = (
    (re.compile(r"/"), admin.page),
    (re.compile(r"/metrics"), admin.metrics),
    (re.compile(r"/routes"), admin.routes),
    (re.compile(r"/labels"), admin.labels),
    (re.compile(r"/v1/models"), admin.models),
    (re.compile(SCHEMA, re.ASCII), admin.schema),
    (re.compile(r"/openapi\.json"), admin.openapi),
)
"""/livez and /readyz are served by the process of the port itself."""


async def answer(gateway: Gateway, target: str) -> Response:
    """The response to GET of a path."""
    try:
        for pattern, page in ROUTES:
            match = pattern.fullmatch(target.partition("?")[0])
            if match is not None:
                return await page(gateway, match.groupdict())
        raise NotFound(f"no such path: {target}; predictions are on the public port", stage="route")
    except (GatewayError, RpcError) as error:
        return error_response(as_gateway_error(error), None)
    except Exception:
        log.exception("GET %s failed", target)
        return error_response(GatewayError("internal error; the log of the gateway says more"), None)
