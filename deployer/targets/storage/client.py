"""A model store in a PVC: the deployer's client of the storage agent in the pod."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar
from urllib.parse import urlencode

import msgspec

from deployer.decode import json_as
from deployer.domain.store import FileFact, version_of
from deployer.errors import TargetError
from deployer.targets.base import HttpReply
from deployer.targets.storage.agent import TOKEN_HEADER

AGENT_CALL_TIMEOUT = 30.0
AGENT_FILE_TIMEOUT = 1800.0
"""For calls that read or flush whole files. A good disk reads a terabyte in half an hour."""

T = TypeVar("T")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a directory; `modified` in seconds since 1970, by the clock of the node."""

    name: str
    directory: bool
    size: int
    modified: float


def version_directories(entries: Iterable[Entry]) -> dict[int, str]:
    """Which of a model's children are versions, as a server sees them: directory name by number."""
    return {n: entry.name for entry in entries if entry.directory and (n := version_of(entry.name)) is not None}


class _Problem(msgspec.Struct, frozen=True):
    error: str = ""


class Send(Protocol):
    """Sends one request to the agent. Errors: TargetError when it cannot be reached."""

    def __call__(
        self, method: str, path: str, body: bytes | None, *, headers: Mapping[str, str], timeout: float
    ) -> HttpReply: ...


class Storage:
    """Typed calls to the agent. Paths are relative to the store. Errors of every method: TargetError."""

    def __init__(self, send: Send, token: str) -> None:
        self._send = send
        self._token = token

    def entries(self, path: str = "") -> tuple[Entry, ...] | None:
        """The entries of a directory, by name; None if it does not exist."""
        body = self._found("/list", path)
        return None if body is None else self._decoded(body, tuple[Entry, ...])

    def files(self, path: str) -> tuple[str, ...]:
        """Every file below a directory, by path inside it."""
        found: list[str] = []
        for entry in self.entries(path) or ():
            if entry.directory:
                found += [f"{entry.name}/{file}" for file in self.files(f"{path}/{entry.name}")]
            else:
                found.append(entry.name)
        return tuple(found)

    def digest(self, path: str) -> FileFact | None:
        """Size and sha256 of a file on the disk; None if it does not exist."""
        body = self._found("/digest", path, timeout=AGENT_FILE_TIMEOUT)
        return None if body is None else self._decoded(body, FileFact)

    def read(self, path: str) -> bytes | None:
        """The content of a small file; None if it does not exist."""
        return self._found("/content", path)

    def stage(self, path: str) -> None:
        """Create a staging directory, or reuse that of an earlier run."""
        self._done("POST", "/stage", path)

    def write(self, path: str, offset: int, body: bytes) -> None:
        """Truncate a file of a staging directory at `offset` and append `body`."""
        self._done("PUT", "/content", path, body=body, offset=offset)

    def publish(self, path: str, version: int) -> bool:
        """Flush a staging directory and rename it to `version`; False if that version exists."""
        reply = self._ask("POST", "/publish", path, timeout=AGENT_FILE_TIMEOUT, version=version)
        return reply.status != 409 and self._accepted(reply) is not None

    def remove(self, path: str) -> None:
        """Remove a version by one rename, then delete its files."""
        self._done("POST", "/remove", path, timeout=AGENT_FILE_TIMEOUT)

    def discard(self, path: str) -> None:
        """Delete a staging directory, or the rest of a removed version."""
        self._done("POST", "/discard", path, timeout=AGENT_FILE_TIMEOUT)

    def _found(self, call: str, path: str, *, timeout: float = AGENT_CALL_TIMEOUT) -> bytes | None:
        reply = self._ask("GET", call, path, timeout=timeout)
        return None if reply.status == 404 else self._accepted(reply)

    def _done(
        self, method: str, call: str, path: str, *, body: bytes = b"", timeout: float = AGENT_CALL_TIMEOUT, **more: int
    ) -> None:
        self._accepted(self._ask(method, call, path, body=body, timeout=timeout, **more))

    def _ask(
        self, method: str, call: str, path: str, *, body: bytes | None = None, timeout: float, **more: int
    ) -> HttpReply:
        query = urlencode({"path": path, **more})
        return self._send(method, f"{call}?{query}", body, headers={TOKEN_HEADER: self._token}, timeout=timeout)

    def _accepted(self, reply: HttpReply) -> bytes:
        if reply.status == 200:
            return reply.body
        try:
            problem = json_as(reply.body, _Problem).error
        except msgspec.MsgspecError:
            problem = reply.body.decode(errors="replace")[:300]
        hint = (
            "enlarge the PVC, or prune versions" if reply.status == 507 else "run `deployer publish` again to continue"
        )
        raise TargetError(f"the storage agent returned {reply.status}", cause=problem, hint=hint)

    def _decoded(self, body: bytes, shape: type[T]) -> T:
        try:
            return json_as(body, shape)
        except msgspec.MsgspecError as error:
            raise TargetError("the response of the storage agent cannot be decoded") from error
