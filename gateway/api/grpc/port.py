"""The listening side of gRPC: grpcio's asyncio server, with one table of methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gateway.addresses import bracketed
from gateway.api.grpc import health
from gateway.api.grpc.calls import handled
from gateway.api.grpc.inference import INFERENCE, SERVICE, UNGUARDED
from gateway.api.grpc.reading import Reading
from gateway.api.grpc.reflection import descriptor_pool
from gateway.api.grpc.serving import SERVING
from gateway.gateway import Gateway
from tfserving.wire.methods import MODEL_SERVICE, PREDICTION_SERVICE

CONNECTION_AGE_MS: Final = 300_000
"""After this long a client is asked to connect again: behind a Service of Kubernetes it would stay with one gateway."""
STREAMS: Final = 256
"""Calls at a time on one connection."""
SERVICES: Final = (PREDICTION_SERVICE, MODEL_SERVICE, SERVICE)


class GrpcPort:
    """Serves gRPC from `start` to `stop`."""

    def __init__(self, gateway: Gateway) -> None:
        limits = gateway.active.settings.limits
        self._server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", limits.max_body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", STREAMS),
                ("grpc.max_connection_age_ms", CONNECTION_AGE_MS),
                ("grpc.max_connection_age_grace_ms", limits.timeout_ms + 2000),
            )
        )
        reading = Reading(gateway.memory, lambda: gateway.active.settings.limits.max_body_bytes)
        handlers = {
            path: handled(gateway, path, answer, reading, guarded=path not in UNGUARDED)
            for path, answer in (SERVING | INFERENCE).items()
        }
        self._server.add_generic_rpc_handlers((_Table(handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(health.Health(gateway, SERVICES), self._server)
        names = (*SERVICES, health.SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, pool=descriptor_pool(SERVICE))

    async def start(self, host: str, port: int, credentials: object = None) -> int:
        """Bind and serve, with TLS where there are `credentials`; the port, which is another than `port` when that is
        0. Errors: OSError."""
        address = f"{bracketed(host)}:{port}"
        try:
            if credentials is None:
                bound: int = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address} for gRPC") from error
        await self._server.start()
        return bound

    async def stop(self, grace: float) -> None:
        """Take no new calls, and end those that have not ended after `grace` seconds."""
        await self._server.stop(grace)


class _Table(grpc.GenericRpcHandler):  # type: ignore[misc]  # has no types
    """Handlers by path."""

    def __init__(self, handlers: Mapping[str, Any]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method; None means UNIMPLEMENTED."""
        return self._handlers.get(handler_call_details.method)
