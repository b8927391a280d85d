"""What the gateway needs of gRPC: status codes, the error of a call, and the seam behind which a call is made."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol


class Code(IntEnum):
    """gRPC's canonical status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """A call that ended without an answer of status OK.

    `local` says that this side made the error (not connected, deadline passed), not the model server.
    """

    def __init__(self, code: Code, message: str, *, local: bool = False) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.local = local


class Transport(Protocol):
    """Unary calls to one address. One transport keeps one connection and restores it by itself."""

    @property
    def connected(self) -> bool:
        """True when a call can be sent right now."""

    @property
    def last_received(self) -> float:
        """Loop time at which the peer was last heard of; 0.0 for never."""

    async def start(self) -> None:
        """Open the connection and keep it open. Returns after the first attempt, whatever came of it."""

    async def call(self, path: str, message: bytes, timeout: float) -> bytes:
        """Send one request and return the response's bytes. `timeout` is in seconds.

        Errors: RpcError.
        """

    async def close(self) -> None:
        """Close the connection; calls in flight end with UNAVAILABLE."""
