"""Listening sockets."""

from __future__ import annotations

import socket
from typing import Final

from gateway.addresses import bracketed

ANY: Final = "::"
"""Every address of the machine, IPv6 and IPv4."""
BACKLOG: Final = 2048


class PortTaken(OSError):
    """A port cannot be bound; the message names it."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. `::` is for IPv4 too, and for IPv4 alone where the machine has no IPv6.

    Errors: PortTaken.
    """
    try:
        if host == ANY:
            return _on_every_address(port)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise PortTaken(f"cannot listen on {bracketed(host)}:{port}: {error.strerror}") from error


def _on_every_address(port: int) -> socket.socket:
    if not socket.has_dualstack_ipv6():
        return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)
    return socket.create_server((ANY, port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
