"""TCP ports of this machine."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack, closing
from pathlib import Path

from deployer.errors import TargetError


def free(count: int) -> list[int]:
    """Free ports on 127.0.0.1. All are bound until all are known, so that they are distinct."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in sockets]


def next_free(first: int, *, tries: int = 100) -> int:
    """The first free port on 127.0.0.1 from `first` on; any free one when the next `tries` are in use."""
    for port in range(first, first + tries):
        try:
            require_free(port)
        except TargetError:
            continue
        return port
    return free(1)[0]


def require_free(port: int) -> None:
    """Errors: TargetError naming the port that is in use and, if known, the process that uses it."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                by = owner(port)
                raise TargetError(
                    f"port {port} is in use" + (f" by {by}" if by else ""),
                    hint="stop that process, or choose another port",
                ) from error
            raise TargetError(f"port {port} cannot be used", cause=str(error), hint="choose another port") from error


def owner(port: int) -> str:
    """ "NAME (pid N)" of the process that listens on a port; empty if unknown."""
    inodes = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening(Path("/proc/net") / table, port)}
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        try:
            if any(os.readlink(file) in inodes for file in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:  # the process has ended, or belongs to another user
            continue
    return ""


def _listening(table: Path, port: int) -> list[str]:
    """Inodes of the sockets that listen on `port`, from /proc/net/tcp or tcp6; proc(5)."""
    if not table.exists():
        return []
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    listen = "0A"
    return [row[9] for row in rows if row[3] == listen and int(row[1].rpartition(":")[2], 16) == port]
