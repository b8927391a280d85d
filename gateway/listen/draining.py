"""A listening socket that takes no new connections, without a reset for those in its queue.

Linux has no call for that. But it asks a socket's packet filter about each packet that opens a connection: a filter
that drops everything leaves the queue as it is. Clients that try to connect hear nothing, and are refused when the
socket has been closed.
"""

from __future__ import annotations

import ctypes
import socket
import sys
from struct import pack
from typing import Final

SO_ATTACH_FILTER: Final = 26
"""From Linux's asm-generic/socket.h; Python has no name for it."""
_DROP: Final = pack("=HBBI", 0x06, 0, 0, 0)
"""One instruction of classic BPF: return 0 bytes."""


def let_nobody_in(listener: socket.socket) -> bool:
    """Drop what would open a connection from now on; False where the system cannot do that."""
    if sys.platform != "linux":
        return False
    program = ctypes.create_string_buffer(_DROP, len(_DROP))
    try:
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pack("@HP", 1, ctypes.addressof(program)))
    except OSError:
        return False
    return True
