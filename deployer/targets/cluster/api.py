"""The API server of a cluster. What comes back over HTTP is decoded into the few fields that `objects` knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec
import urllib3

from deployer.decode import json_as
from deployer.errors import TargetError
from deployer.targets.base import HttpReply
from deployer.targets.cluster import kubeconfig

PARALLEL_REQUESTS = kubeconfig.CONNECTIONS
"""Concurrent requests to the API server."""

NOT_FOUND, CONFLICT = 404, 409

API_CALL_TIMEOUT = 15.0
LIST_PAGE_SIZE = 500
"""Objects per page of a list."""

FIELD_MANAGER = "tfserving-deployer"
"""The owner of the fields that are patched here, in managedFields."""

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A cluster and namespace. An empty `context` is the current one, or in a pod without any the cluster around it; an
    empty `kubeconfig` means kubectl's files."""

    namespace: str
    context: str = ""
    kubeconfig: str = ""

    def __str__(self) -> str:
        return f"{f'context {self.context}' if self.context else 'this cluster'}, namespace {self.namespace}"


class Refused(TargetError):
    """An error of the API server; `code` is the HTTP status, `reason` e.g. "NotFound" or "Forbidden"."""

    def __init__(self, message: str, *, code: int, reason: str, cause: str = "", hint: str = "") -> None:
        super().__init__(message, cause=cause, hint=hint)
        self.code = code
        self.reason = reason


class _Status(msgspec.Struct, frozen=True):
    kind: str
    message: str = ""
    reason: str = ""
    code: int = 0


class _ListMeta(msgspec.Struct, frozen=True, rename={"next": "continue"}):
    next: str = ""


class _Page(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw]
    metadata: _ListMeta = _ListMeta()


class ApiServer:
    """HTTP client of one API server, pooled and thread-safe. Errors of every method: TargetError, including `Refused`.

    `authorization` is called for each request, because tokens expire.
    """

    def __init__(self, url: str, pool: urllib3.PoolManager, authorization: Callable[[], str]) -> None:
        self.url = url.rstrip("/")
        self._pool = pool
        self._authorization = authorization

    def read(self, path: str, shape: type[T], *, timeout: float = API_CALL_TIMEOUT) -> T:
        """GET an object."""
        return self._decode(self.call("GET", path, timeout=timeout), shape, path)

    def find(self, path: str, shape: type[T], *, timeout: float = API_CALL_TIMEOUT) -> T | None:
        """GET an object; None if it does not exist."""
        try:
            return self.read(path, shape, timeout=timeout)
        except Refused as error:
            if error.code == NOT_FOUND:
                return None
            raise

    def list(
        self, path: str, shape: type[T], *, labels: str = "", fields: str = "", timeout: float = API_CALL_TIMEOUT
    ) -> tuple[T, ...]:
        """GET every object of a collection, in pages; `labels` and `fields` are selectors."""
        found: list[T] = []
        following = ""
        while True:
            query = {
                "limit": str(LIST_PAGE_SIZE),
                "labelSelector": labels,
                "fieldSelector": fields,
                "continue": following,
            }
            page = self._decode(self.call("GET", path, query=query, timeout=timeout), _Page, path)
            found += [self._decode(item, shape, path) for item in page.items]
            following = page.metadata.next
            if not following:
                return tuple(found)

    def patch(self, path: str, change: object, *, timeout: float = API_CALL_TIMEOUT) -> bytes:
        """Merge a change into an object (RFC 7396); returns the new object as JSON."""
        query = {"fieldManager": FIELD_MANAGER}
        body = msgspec.json.encode(change)
        return self.call("PATCH", path, query=query, body=body, content_type=MERGE_PATCH, timeout=timeout)

    def apply(self, path: str, content: object, *, timeout: float = API_CALL_TIMEOUT) -> None:
        """Create or update an object (server-side apply)."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        body = msgspec.json.encode(content)  # JSON is YAML
        self.call("PATCH", path, query=query, body=body, content_type=APPLY_PATCH, timeout=timeout)

    def create(self, path: str, content: object, *, timeout: float = API_CALL_TIMEOUT) -> bytes:
        """POST a new object to a collection; returns it as JSON."""
        return self.call("POST", path, body=msgspec.json.encode(content), timeout=timeout)

    def delete(self, path: str, *, timeout: float = API_CALL_TIMEOUT) -> None:
        """Delete an object; it is not an error if it does not exist."""
        try:
            self.call("DELETE", path, timeout=timeout)
        except Refused as error:
            if error.code != NOT_FOUND:
                raise

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout: float = API_CALL_TIMEOUT,
    ) -> bytes:
        """One request to the API server itself; returns the response body. Empty values of `query` are left out."""
        reply = self._send(method, path, query, body, content_type, timeout)
        if reply.status < 400:
            return reply.body
        raise _refusal(method, path, reply)

    def proxied(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float,
    ) -> HttpReply:
        """One request to a pod or node behind a proxy path. A response of the pod is returned whatever its status is.

        Errors: Refused when the response comes from the API server itself: no such pod, nothing listens.
        """
        reply = self._send(method, path, None, body, "application/json", timeout, headers)
        if reply.status >= 400 and _api_status(reply) is not None:
            raise _refusal(method, path, reply)
        return reply

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | None,
        content_type: str,
        timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> HttpReply:
        encoded_query = urlencode({key: value for key, value in (query or {}).items() if value})
        url = f"{self.url}{path}" + (f"?{encoded_query}" if encoded_query else "")
        all_headers = {"Accept": "application/json", **({"Content-Type": content_type} if body is not None else {})}
        all_headers |= headers or {}
        if authorization := self._authorization():
            all_headers["Authorization"] = authorization
        try:
            response = self._pool.request(
                method,
                url,
                body=body,
                headers=all_headers,
                timeout=urllib3.Timeout(timeout),
                retries=False,
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise TargetError(
                f"the API server at {self.url} does not respond",
                cause=str(error),
                hint="`kubectl cluster-info` shows whether it is reachable; --context selects another cluster",
            ) from error
        return HttpReply(status=response.status, body=response.data)

    def _decode(self, body: bytes | msgspec.Raw, shape: type[T], path: str) -> T:
        try:
            return json_as(body, shape)
        except msgspec.MsgspecError as error:
            raise TargetError(f"the API server's response to {path} cannot be decoded") from error


def connect(place: Place) -> ApiServer:
    """Connect to the API server of a context. Errors: TargetError without a kubeconfig or the `kubernetes` package."""
    configuration = kubeconfig.load(place.context, place.kubeconfig)
    return ApiServer(
        configuration.host, kubeconfig.pool(configuration), lambda: kubeconfig.authorization(configuration)
    )


def pod_path(namespace: str, name: str = "") -> str:
    """The API path of one pod, or of all pods of a namespace."""
    return f"/api/v1/namespaces/{quote(namespace)}/pods" + (f"/{quote(name)}" if name else "")


def proxy_path(namespace: str, pod: str, port: int, path: str, *, secure: bool = False) -> str:
    """The proxy path of the API server for a port of a pod; `path` begins with a slash.

    With `secure` the API server speaks TLS to the pod, without looking at its certificate.
    """
    scheme = "https:" if secure else ""
    return f"/api/v1/namespaces/{quote(namespace)}/pods/{scheme}{quote(pod)}:{port}/proxy{path}"


def _api_status(reply: HttpReply) -> _Status | None:
    """The Status object of an error of the API server; None if the response comes from behind the proxy."""
    try:
        status = json_as(reply.body, _Status)
    except msgspec.MsgspecError:
        return None
    return status if status.kind == "Status" else None


_HINTS = {
    401: "log in to the cluster again",
    403: "`kubectl auth can-i --list` shows your permissions in this namespace",
    404: "check --namespace and --context",
}


def _refusal(method: str, path: str, reply: HttpReply) -> Refused:
    status = _api_status(reply)
    cause = status.message if status else reply.body.decode(errors="replace")[:300]
    return Refused(
        f"the API server rejected {method} {path} with {reply.status}",
        code=reply.status,
        reason=status.reason if status else "",
        cause=cause,
        hint=_HINTS.get(reply.status, ""),
    )
