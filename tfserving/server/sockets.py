"""The event loop and the listening sockets of both ports."""

from __future__ import annotations

import asyncio
import os
import socket

_LAST_PORT = 65535


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed: it halves the cost of a packet."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def listen(port: int, *, reuse_port: bool = False) -> socket.socket:
    """A listening socket on "::" for both IP versions, or on 0.0.0.0 where there is no IPv6.

    The environment variable TFSERVING_HOST names one address instead; TensorFlow Serving has no flag for it.
    Errors: OSError.
    """
    if not 0 <= port <= _LAST_PORT:
        raise OSError(f"{port} is no port")
    if host := os.environ.get("TFSERVING_HOST"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128, reuse_port=reuse_port)
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128, reuse_port=reuse_port
        )
    return socket.create_server(("0.0.0.0", port), backlog=128, reuse_port=reuse_port)
