"""The blocking gRPC client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from tfserving.client import messages
from tfserving.client.values import DEFAULT_TIMEOUT, Metadata, ModelServerError, Prediction, VersionStatus
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.tensors import Array


class Client:
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
        known = (*methods.METHODS, messages.HEALTH)
        self._calls = {
            method: self._channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
            for method in known
        }

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

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
        request = messages.predict_request(spec, inputs, output_filter)
        return messages.prediction(self._call(methods.PREDICT, request, timeout))

    def status(
        self, model: str, version: int | None = None, *, timeout: float = DEFAULT_TIMEOUT
    ) -> tuple[VersionStatus, ...]:
        """Every version that the server has known, highest first, or only `version`."""
        request = m.GetModelStatusRequest(model_spec=messages.model_spec(model, version, None))
        return messages.statuses(self._call(methods.GET_MODEL_STATUS, request, timeout))

    def metadata(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Metadata:
        """Signatures, and the version that `label` (or nothing) stands for now."""
        request = messages.metadata_request(messages.model_spec(model, version, label))
        return messages.metadata(self._call(methods.GET_MODEL_METADATA, request, timeout))

    def reload(self, config: messages.ServerConfig, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Replace the whole list of models. New models are waited for, changes to known ones are not.

        Not for servers whose model_config_file is polled: the next poll reverts it.
        """
        self._call(methods.RELOAD_CONFIG, m.ReloadConfigRequest(config=config.to_message()), timeout)

    def healthy(self, service: str = "", *, timeout: float = DEFAULT_TIMEOUT) -> bool:
        """Whether the health service says SERVING; False also when nobody answers in time.

        Errors: ModelServerError UNIMPLEMENTED when the server runs without health service, NOT_FOUND for an unknown
        `service`.
        """
        try:
            return messages.is_serving(self._call(messages.HEALTH, StringValue(value=service), timeout))
        except ModelServerError as error:
            if messages.not_serving(error):
                return False
            raise

    def _call(self, method: methods.Method, request: Message, timeout: float) -> Any:
        try:
            return self._calls[method](request, timeout=timeout)
        except grpc.RpcError as error:
            raise messages.typed_error(error) from error
