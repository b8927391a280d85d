"""What one gRPC client may ask of the server, from the channel arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

EFFECTIVE: Final = frozenset(
    (
        "grpc.so_reuseport",
        "grpc.max_receive_message_length",
        "grpc.max_concurrent_streams",
        "grpc.max_connection_age_ms",
        "grpc.max_connection_age_grace_ms",
        "grpc.server_handshake_timeout_ms",
        "grpc.keepalive_permit_without_calls",
        "grpc.http2.max_ping_strikes",
        "grpc.http2.min_recv_ping_interval_without_data_ms",
    )
)
"""The arguments that have an effect."""

_MOST_BYTES: Final = 2**31 - 1
"""The limit of protobuf itself."""
_STREAMS: Final = 1024
_FOREVER_MS: Final = 2**31 - 1
"""gRPC's number for no limit of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds. The defaults are gRPC's, but for `max_streams`, which it leaves open."""

    max_request: int = _MOST_BYTES
    max_streams: int = _STREAMS
    """Calls of one connection at a time; more are refused and may be tried again."""
    handshake: float = 120.0
    """Until a new client has sent its settings."""
    age: float | None = None
    """After which a connection is drained, so that its client chooses a server anew."""
    age_grace: float | None = None
    """For the calls of a connection that is drained for its age."""
    ping_interval: float = 300.0
    """A client that asks more often for a sign of life, without any response in between, is cut off after some more."""
    idle_ping_interval: float = 7200.0
    """The same for a client without a call."""
    ping_strikes: int = 2
    """How many pings may come too soon; 0 is any number."""


def limits(arguments: Mapping[str, int | str], *, max_threads: int) -> Limits:
    """The limits that channel arguments set; those that are no numbers are ignored, as in gRPC."""

    def number(name: str, default: int, least: int = 0) -> int:
        value = arguments.get(name)
        return value if isinstance(value, int) and value >= least else default

    def seconds(name: str) -> float | None:
        value = number(name, _FOREVER_MS, 1)
        return None if value >= _FOREVER_MS else value / 1000

    interval = number("grpc.http2.min_recv_ping_interval_without_data_ms", 300_000) / 1000
    return Limits(
        max_request=number("grpc.max_receive_message_length", _MOST_BYTES),
        # Above the threads, so that a client with too many calls is told so by the response that means it.
        max_streams=number("grpc.max_concurrent_streams", max(_STREAMS, 2 * max_threads)),
        handshake=number("grpc.server_handshake_timeout_ms", 120_000, 1) / 1000,
        age=seconds("grpc.max_connection_age_ms"),
        age_grace=seconds("grpc.max_connection_age_grace_ms"),
        ping_interval=interval,
        idle_ping_interval=interval if number("grpc.keepalive_permit_without_calls", 0) else 7200.0,
        ping_strikes=number("grpc.http2.max_ping_strikes", 2),
    )
