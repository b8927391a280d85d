"""A listener that lets nobody in keeps those who wait, and a closed one refuses."""

from __future__ import annotations

import socket
import sys

import pytest

from gateway.listen.draining import let_nobody_in


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can do that")
def test_who_waits_is_served_and_who_comes_later_is_not() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.3)
    where = listener.getsockname()
    early = socket.create_connection(where, timeout=20)
    early.sendall(b"hello")
    assert let_nobody_in(listener)
    with pytest.raises(TimeoutError):
        socket.create_connection(where, timeout=0.3)
    served, _ = listener.accept()
    assert served.recv(9) == b"hello"
    with pytest.raises(TimeoutError):
        listener.accept()
    listener.close()
    served.sendall(b"bye")
    assert early.recv(9) == b"bye"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where, timeout=20)
    early.close()
    served.close()
