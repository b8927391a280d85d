"""Addresses of hosts as text."""

from __future__ import annotations

from typing import Final

_MAPPED: Final = "::ffff:"


def bracketed(host: str) -> str:
    """A host as it stands in a URL or before a port: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def plain(address: str) -> str:
    """The address of a client; an IPv4 client on a socket for both families is shown as `::ffff:10.0.0.1`."""
    return address.removeprefix(_MAPPED) if "." in address else address
