"""The REST clients. Slower than gRPC, and without the version in a response; for what speaks only HTTP."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

import grpc
import msgspec
import requests

from tfserving.client import rest_json
from tfserving.client.closing import AsyncClosing, Closing
from tfserving.client.rest_json import SOLE_OUTPUT
from tfserving.client.values import (
    DEFAULT_TIMEOUT,
    Metadata,
    ModelServerError,
    Prediction,
    VersionStatus,
    check_choice,
)
from tfserving.wire.methods import DEFAULT_SIGNATURE
from tfserving.wire.tensors import Array

__all__ = ["SOLE_OUTPUT", "AsyncRestClient", "RestClient"]

P = ParamSpec("P")
T = TypeVar("T")

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class RestClient(Closing):
    """One model server or gateway by its base URL, "http://host:port". Proxies of the environment are not used.

    `timeout` bounds the connection and every wait for more of the response, in seconds. Errors of every call:
    ModelServerError.
    """

    def __init__(self, base_url: str) -> None:
        self._base = base_url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Array],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Prediction:
        """Run one signature, in the columnar form.

        Numbers come back as JSON has them (int64 or float64), text as objects (bytes). The only output of a signature
        has no name in the response and is called SOLE_OUTPUT here. `version` of the response is the one asked for.
        Errors: also TensorError for an array that JSON cannot carry (half, uint16, complex …).
        """
        body = rest_json.predict_body(inputs, signature)
        answer = self._ask("POST", _path(model, version, label) + ":predict", timeout, body)
        return Prediction(
            outputs=rest_json.outputs(answer), model=model, version=version, signature=signature or DEFAULT_SIGNATURE
        )

    def status(
        self, model: str, version: int | None = None, *, timeout: float = DEFAULT_TIMEOUT
    ) -> tuple[VersionStatus, ...]:
        """Every version that the server has known, highest first, or only `version`."""
        answer = self._ask("GET", _path(model, version, None), timeout)
        return _understood(rest_json.statuses, answer)

    def metadata(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Metadata:
        """Signatures, and the version that `label` (or nothing) stands for now."""
        answer = self._ask("GET", _path(model, version, label) + "/metadata", timeout)
        return _understood(rest_json.metadata, answer)

    def _ask(self, method: str, path: str, timeout: float, body: bytes | None = None) -> object:
        try:
            reply = self._session.request(method, self._base + path, data=body, timeout=timeout, allow_redirects=False)
        except requests.Timeout as error:
            raise ModelServerError(grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer within {timeout} s") from error
        except requests.RequestException as error:
            raise ModelServerError(grpc.StatusCode.UNAVAILABLE, str(error)) from error
        try:
            answer = json.loads(reply.content)
        except ValueError as error:
            code = _CODES.get(reply.status_code, grpc.StatusCode.UNKNOWN)
            raise ModelServerError(code, f"HTTP {reply.status_code} without a JSON body") from error
        if reply.status_code != 200:
            text = answer.get("error") if isinstance(answer, dict) else None
            code = _CODES.get(reply.status_code, grpc.StatusCode.UNKNOWN)
            raise ModelServerError(code, str(text) if text is not None else f"HTTP {reply.status_code}")
        return answer


def _on_a_thread(
    method: Callable[Concatenate[RestClient, P], T],
) -> Callable[Concatenate[AsyncRestClient, P], Coroutine[Any, Any, T]]:
    @functools.wraps(method)
    async def call(self: AsyncRestClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(method, self._client, *args, **kwargs)

    return call


class AsyncRestClient(AsyncClosing):
    """`RestClient` for asyncio; each call runs on a thread of the event loop's pool."""

    def __init__(self, base_url: str) -> None:
        self._client = RestClient(base_url)

    close = _on_a_thread(RestClient.close)
    predict = _on_a_thread(RestClient.predict)
    status = _on_a_thread(RestClient.status)
    metadata = _on_a_thread(RestClient.metadata)


def _path(model: str, version: int | None, label: str | None) -> str:
    check_choice(model, version, label)
    path = f"/v1/models/{quote(model, safe='')}"
    if version is not None:
        return f"{path}/versions/{version}"
    return path if label is None else f"{path}/labels/{quote(label, safe='')}"


def _understood(read: Callable[[object], T], answer: object) -> T:
    try:
        return read(answer)
    except msgspec.ValidationError as error:
        raise ModelServerError(grpc.StatusCode.INTERNAL, f"an answer of another shape: {error}") from error
