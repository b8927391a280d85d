"""What the gateway needs of gRPC: the error of a call, and the seam behind which a call is made."""

from __future__ import annotations

from typing import Protocol

from tfserving.wire.status import Code


class RpcError(Exception):
    """A call that ended without a response of status OK.

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
