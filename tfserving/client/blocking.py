"""The blocking gRPC client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import grpc

from tfserving.client import messages
from tfserving.client.closing import Closing
from tfserving.client.values import DEFAULT_TIMEOUT, Metadata, Prediction, VersionStatus
from tfserving.wire.tensors import Array

T = TypeVar("T")


class Client(Closing):
    """One model server by its gRPC address, "host:port" or "unix:/path". Safe to share between threads.

    Nothing is connected before the first call. Every call ends within its `timeout` in seconds. Errors of every call:
    ModelServerError.
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """`credentials` switches TLS on; `options` are gRPC channel arguments beside those of CHANNEL_OPTIONS."""
        arguments = [*messages.CHANNEL_OPTIONS, *options]
        self._channel = (
            grpc.secure_channel(address, credentials, arguments)
            if credentials
            else grpc.insecure_channel(address, arguments)
        )
        self._stubs = messages.stubs(self._channel)

    def close(self) -> None:
        """Close the connection; calls in flight fail."""
        self._channel.close()

    def predict(
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
        """Run one signature; `output_filter` names the outputs to compute, none for all.

        Errors: also TensorError for an array without tensor form, ValueError for a version and a label at once.
        """
        spec = messages.model_spec(model, version, label, signature)
        return self._ask(messages.predict(spec, inputs, output_filter), timeout)

    def status(
        self, model: str, version: int | None = None, *, timeout: float = DEFAULT_TIMEOUT
    ) -> tuple[VersionStatus, ...]:
        """Every version that the server has known, highest first, or only `version`."""
        return self._ask(messages.status(model, version), timeout)

    def metadata(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Metadata:
        """Signatures, and the version that `label` (or nothing) stands for now."""
        return self._ask(messages.metadata(messages.model_spec(model, version, label)), timeout)

    def reload(self, config: messages.ServerConfig, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Replace the whole list of models. New models are waited for, changes to known ones are not.

        Not for servers whose model_config_file is polled: the next poll reverts it.
        """
        self._ask(messages.reload(config), timeout)

    def healthy(self, service: str = "", *, timeout: float = DEFAULT_TIMEOUT) -> bool:
        """Whether the health service says SERVING; False also when nobody answers in time.

        Errors: ModelServerError UNIMPLEMENTED when the server runs without health service, NOT_FOUND for an unknown
        `service`.
        """
        return self._ask(messages.healthy(service), timeout)

    def _ask(self, call: messages.Call[T], timeout: float) -> T:
        try:
            response = self._stubs[call.method](call.request, timeout=timeout)
        except grpc.RpcError as error:
            return call.failed(error)
        return call.read(response)
