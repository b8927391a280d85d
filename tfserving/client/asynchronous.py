"""The asyncio gRPC client: the calls of `Client`, awaited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio

from tfserving.client import messages
from tfserving.client.closing import AsyncClosing
from tfserving.client.values import DEFAULT_TIMEOUT, Metadata, Prediction, VersionStatus
from tfserving.wire.tensors import Array

T = TypeVar("T")


class AsyncClient(AsyncClosing):
    """`Client` for asyncio, made and used on one running event loop; arguments, answers and errors are the same."""

    def __init__(
        self,
        address: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        arguments = [*messages.CHANNEL_OPTIONS, *options]
        self._channel = (
            grpc.aio.secure_channel(address, credentials, arguments)
            if credentials
            else grpc.aio.insecure_channel(address, arguments)
        )
        self._stubs = messages.stubs(self._channel)

    async def close(self) -> None:
        """As `Client.close`."""
        await self._channel.close()

    async def predict(
        self,
        model: str,
        inputs: Mapping[str, Array],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        output_filter: Sequence[str] = (),
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Prediction:
        """As `Client.predict`."""
        spec = messages.model_spec(model, version, label, signature)
        return await self._ask(messages.predict(spec, inputs, output_filter), timeout)

    async def status(
        self, model: str, version: int | None = None, *, timeout: float = DEFAULT_TIMEOUT
    ) -> tuple[VersionStatus, ...]:
        """As `Client.status`."""
        return await self._ask(messages.status(model, version), timeout)

    async def metadata(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Metadata:
        """As `Client.metadata`."""
        return await self._ask(messages.metadata(messages.model_spec(model, version, label)), timeout)

    async def reload(self, config: messages.ServerConfig, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """As `Client.reload`."""
        await self._ask(messages.reload(config), timeout)

    async def healthy(self, service: str = "", *, timeout: float = DEFAULT_TIMEOUT) -> bool:
        """As `Client.healthy`."""
        return await self._ask(messages.healthy(service), timeout)

    async def _ask(self, call: messages.Call[T], timeout: float) -> T:
        try:
            response = await self._stubs[call.method](call.request, timeout=timeout)
        except grpc.RpcError as error:
            return call.failed(error)
        return call.read(response)
