"""gRPC's health service (grpc.health.v1): SERVING while the gateway is ready, as /readyz of the admin port says it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.api.grpc.calls import Context
from gateway.gateway import Gateway

SERVICE: Final[str] = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
HEALTH_POLL_SECONDS: Final = 0.5
"""How often a watched state is looked at."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # has no types
    """`services` are those that may be asked for; the empty name stands for the whole server."""

    def __init__(self, gateway: Gateway, services: Collection[str]) -> None:
        self._gateway = gateway
        self._services = frozenset(services) | {""}

    async def Check(self, request: Any, context: Context) -> Any:  # noqa: N802
        """The state right now; NOT_FOUND for a service that is not served."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service '{request.service}'")
        return self._now()

    async def Watch(self, request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: N802
        """The state, and again whenever it changes; SERVICE_UNKNOWN for a service that is not served."""
        if request.service not in self._services:
            yield _response("SERVICE_UNKNOWN")
            await asyncio.Event().wait()  # until the client ends the call
        sent = None
        while True:
            state = self._now()
            if state != sent:
                yield state
                sent = state
            await asyncio.sleep(HEALTH_POLL_SECONDS)

    def _now(self) -> Any:
        return _response("NOT_SERVING" if self._gateway.unready() else "SERVING")


def _response(status: str) -> Any:
    return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.ServingStatus.Value(status))
