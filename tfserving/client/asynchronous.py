"""The asyncio gRPC client: the calls of `Client`, awaited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from tfserving.client import messages
from tfserving.client.values import DEFAULT_TIMEOUT, Metadata, ModelServerError, Prediction, VersionStatus
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.tensors import Array


class AsyncClient:
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
        known = (*methods.METHODS, messages.HEALTH)
        self._calls = {
            method: self._channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
            for method in known
        }

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

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
        request = messages.predict_request(spec, inputs, output_filter)
        return messages.prediction(await self._call(methods.PREDICT, request, timeout))

    async def status(
        self, model: str, version: int | None = None, *, timeout: float = DEFAULT_TIMEOUT
    ) -> tuple[VersionStatus, ...]:
        """As `Client.status`."""
        request = m.GetModelStatusRequest(model_spec=messages.model_spec(model, version, None))
        return messages.statuses(await self._call(methods.GET_MODEL_STATUS, request, timeout))

    async def metadata(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Metadata:
        """As `Client.metadata`."""
        request = messages.metadata_request(messages.model_spec(model, version, label))
        return messages.metadata(await self._call(methods.GET_MODEL_METADATA, request, timeout))

    async def reload(self, config: messages.ServerConfig, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """As `Client.reload`."""
        await self._call(methods.RELOAD_CONFIG, m.ReloadConfigRequest(config=config.to_message()), timeout)

    async def healthy(self, service: str = "", *, timeout: float = DEFAULT_TIMEOUT) -> bool:
        """As `Client.healthy`."""
        try:
            return messages.is_serving(await self._call(messages.HEALTH, StringValue(value=service), timeout))
        except ModelServerError as error:
            if messages.not_serving(error):
                return False
            raise

    async def _call(self, method: methods.Method, request: Message, timeout: float) -> Any:
        try:
            return await self._calls[method](request, timeout=timeout)
        except grpc.RpcError as error:
            raise messages.typed_error(error) from error
