"""The API server of a cluster. What comes back over HTTP is decoded into the few fields that `objects` knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec
import urllib3

from deployer.errors import TargetError
from deployer.targets.base import HttpReply
from deployer.targets.cluster import kubeconfig

PARALLEL = kubeconfig.CONNECTIONS
"""Requests to the API server in flight at a time."""

NOT_FOUND, CONFLICT = 404, 409

CALL_TIMEOUT = 15.0
PAGE = 500
"""Objects asked for in one page of a list."""

FIELD_MANAGER = "tfserving-deployer"
"""Whom the API server names as the owner of the fields that are patched here."""

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which cluster and namespace. `context` empty: the current one, or in a pod without any the cluster around it.
    `kubeconfig` empty: kubectl's files."""

    namespace: str
    context: str = ""
    kubeconfig: str = ""

    def __str__(self) -> str:
        return f"{f'context {self.context}' if self.context else 'this cluster'}, namespace {self.namespace}"


class Refused(TargetError):
    """The API server's own refusal; `code` is its HTTP status, `reason` its word for it ("NotFound", "Forbidden")."""

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
    """HTTP to one API server, pooled and safe for threads. Errors of every method: TargetError, `Refused` among them.

    `authorization` gives the header of each request anew, because tokens run out.
    """

    def __init__(self, url: str, pool: urllib3.PoolManager, authorization: Callable[[], str]) -> None:
        self.url = url.rstrip("/")
        self._pool = pool
        self._authorization = authorization

    def read(self, path: str, shape: type[T], *, timeout: float = CALL_TIMEOUT) -> T:
        """GET an object."""
        return self._decode(self.call("GET", path, timeout=timeout), shape, path)

    def find(self, path: str, shape: type[T], *, timeout: float = CALL_TIMEOUT) -> T | None:
        """GET an object that may not be there."""
        try:
            return self.read(path, shape, timeout=timeout)
        except Refused as error:
            if error.code == NOT_FOUND:
                return None
            raise

    def list(
        self, path: str, shape: type[T], *, labels: str = "", fields: str = "", timeout: float = CALL_TIMEOUT
    ) -> tuple[T, ...]:
        """GET every object of a collection, in pages; `labels` and `fields` are selectors."""
        found: list[T] = []
        following = ""
        while True:
            query = {"limit": str(PAGE), "labelSelector": labels, "fieldSelector": fields, "continue": following}
            page = self._decode(self.call("GET", path, query=query, timeout=timeout), _Page, path)
            found += [self._decode(item, shape, path) for item in page.items]
            following = page.metadata.next
            if not following:
                return tuple(found)

    def patch(self, path: str, change: object, *, timeout: float = CALL_TIMEOUT) -> bytes:
        """Merge a change into an object (RFC 7396); the object as it is then, JSON."""
        query = {"fieldManager": FIELD_MANAGER}
        body = msgspec.json.encode(change)
        return self.call("PATCH", path, query=query, body=body, content_type=MERGE_PATCH, timeout=timeout)

    def apply(self, path: str, content: object, *, timeout: float = CALL_TIMEOUT) -> None:
        """Have an object as described, whether it exists or not (server-side apply)."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        body = msgspec.json.encode(content)  # JSON is YAML
        self.call("PATCH", path, query=query, body=body, content_type=APPLY_PATCH, timeout=timeout)

    def create(self, path: str, content: object, *, timeout: float = CALL_TIMEOUT) -> None:
        """POST a new object to a collection."""
        self.call("POST", path, body=msgspec.json.encode(content), timeout=timeout)

    def delete(self, path: str, *, timeout: float = CALL_TIMEOUT) -> None:
        """Delete an object; one that is gone already is no error."""
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
        timeout: float = CALL_TIMEOUT,
    ) -> bytes:
        """One request for the API server itself; the body of its answer. Empty values of `query` are left out."""
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
        """One request for a pod or node behind a proxy path. What the pod itself says is returned, whatever its status.

        Errors: Refused when the API server answers in its place: no such pod, nothing listens.
        """
        reply = self._send(method, path, None, body, "application/json", timeout, headers)
        if reply.status >= 400 and _own_words(reply) is not None:
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
        asked = urlencode({key: value for key, value in (query or {}).items() if value})
        url = f"{self.url}{path}" + (f"?{asked}" if asked else "")
        sent = {"Accept": "application/json", **({"Content-Type": content_type} if body is not None else {})}
        sent |= headers or {}
        if authorization := self._authorization():
            sent["Authorization"] = authorization
        try:
            answer = self._pool.request(
                method, url, body=body, headers=sent, timeout=urllib3.Timeout(timeout), retries=False, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise TargetError(
                f"the API server at {self.url} does not answer",
                cause=str(error),
                hint="`kubectl cluster-info` shows whether it can be reached; --context names another cluster",
            ) from error
        return HttpReply(status=answer.status, body=answer.data)

    def _decode(self, body: bytes | msgspec.Raw, shape: type[T], path: str) -> T:
        try:
            return msgspec.json.decode(body, type=shape)
        except msgspec.MsgspecError as error:
            raise TargetError(f"the API server's answer at {path} cannot be read") from error


def connect(place: Place) -> ApiServer:
    """The API server of a context. Errors: TargetError without a usable kubeconfig or the `kubernetes` package."""
    configuration = kubeconfig.load(place.context, place.kubeconfig)
    return ApiServer(
        configuration.host, kubeconfig.pool(configuration), lambda: kubeconfig.authorization(configuration)
    )


def pod_path(namespace: str, name: str = "") -> str:
    """The path of one pod, or of all of a namespace."""
    return f"/api/v1/namespaces/{quote(namespace)}/pods" + (f"/{quote(name)}" if name else "")


def proxy_path(namespace: str, pod: str, port: int, path: str) -> str:
    """The path at which the API server passes a request on to a port of a pod; `path` begins with a slash."""
    return f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}:{port}/proxy{path}"


def _own_words(reply: HttpReply) -> _Status | None:
    """The Status object with which the API server itself refuses; None when somebody behind it answered."""
    try:
        status = msgspec.json.decode(reply.body, type=_Status)
    except msgspec.MsgspecError:
        return None
    return status if status.kind == "Status" else None


_HINTS = {
    401: "log in to the cluster again",
    403: "`kubectl auth can-i --list` shows what you may do in this namespace",
    404: "--namespace and --context say where is looked",
}


def _refusal(method: str, path: str, reply: HttpReply) -> Refused:
    status = _own_words(reply)
    sent = status.message if status else reply.body.decode(errors="replace")[:300]
    return Refused(
        f"the API server refuses {method} {path} with {reply.status}",
        code=reply.status,
        reason=status.reason if status else "",
        cause=sent,
        hint=_HINTS.get(reply.status, ""),
    )
