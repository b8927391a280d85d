"""The sending half of an HTTP/2 connection: frames within what the peer's windows allow, bodies that wait for them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Generic, TypeVar

from tfserving.http2.frames import DATA, DEFAULT_FRAME, DEFAULT_WINDOW, END_STREAM, FRAME

LARGEST_SENT: Final = 2**20
"""Longest frame that is sent, also to a peer that takes longer ones: only between frames it can be seen to pause."""
USELESS_MOST: Final = 10_000
"""Frames without a use that a peer may send between two responses or requests; each costs about as much as a call's."""


class Stream:
    """One exchange: what was received, and what is left to send.

    `fields` are headers and trailers by lower-case name. `unsent` is the part of the body that the peer's windows did
    not allow yet, `after` the frames that follow it (empty: the body ends the stream). `taken_in` are the bytes
    received since the peer was last allowed more.
    """

    __slots__ = ("after", "chunks", "fields", "id", "received", "taken_in", "unsent", "window")

    def __init__(self) -> None:
        self.id = 0
        self.fields: dict[str, str] = {}
        self.chunks: list[bytes] = []
        self.received = 0
        self.taken_in = 0
        self.unsent: memoryview | None = None
        self.after = b""
        self.window = 0


S = TypeVar("S", bound=Stream)


class Sender(asyncio.Protocol, Generic[S]):
    """Sends streams. What the peer allows is changed by whoever reads its frames; `_flush` then goes on."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._open: dict[int, S] = {}
        self._blocked: deque[S] = deque()
        self._paused = False
        self._peer_window = DEFAULT_WINDOW
        self._peer_initial_window = DEFAULT_WINDOW
        self._peer_max_frame = DEFAULT_FRAME
        self._patience = USELESS_MOST
        """Frames without a use that may still come before something is sent."""

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def _write(self, data: bytes) -> None:
        self._transport.write(data)

    def _send(self, stream: S, head: bytes, body: bytes, after: bytes = b"") -> bool:
        """Frames `head`, the body, frames `after`: in one piece when the peer's windows and reading allow it.

        Without `after` the last frame of the body ends the stream. False, and nothing sent, when the body would have to
        wait and `_may_wait` forbids it.
        """
        size = len(body)
        self._patience = USELESS_MOST
        if (
            size <= self._peer_window
            and size <= self._peer_initial_window
            and size <= self._peer_max_frame
            and not self._paused
        ):
            self._peer_window -= size
            data = FRAME.pack(size >> 8, size & 255, DATA, 0 if after else END_STREAM, stream.id)
            self._write(b"".join((head, data, body, after)))
            return True
        if not self._may_wait(stream, size):
            return False
        self._write(head)
        stream.unsent = memoryview(body)
        stream.after = after
        stream.window += self._peer_initial_window
        self._blocked.append(stream)
        self._flush()
        return True

    def _may_wait(self, stream: S, size: int) -> bool:
        """Whether the body of a stream may be kept until the peer allows it."""
        return True

    def _flush(self) -> None:
        """Send what the peer allows of the bodies that did not fit at once."""
        if self._paused or self._peer_window <= 0:
            return
        for _ in range(len(self._blocked)):
            stream = self._blocked.popleft()
            if self._open.get(stream.id) is not stream:
                continue
            if self._send_body(stream):
                self._on_sent(stream)
            else:
                self._blocked.append(stream)

    def _on_sent(self, stream: S) -> None:
        """A body that had to wait has been sent."""

    def _send_body(self, stream: S) -> bool:
        while stream.unsent is not None:
            size = min(len(stream.unsent), stream.window, self._peer_window, self._peer_max_frame)
            if size <= 0 or self._paused:
                return False
            piece, rest = stream.unsent[:size], stream.unsent[size:]
            stream.window -= size
            self._peer_window -= size
            self._patience = USELESS_MOST
            flags = 0 if rest or stream.after else END_STREAM
            self._write(FRAME.pack(size >> 8, size & 255, DATA, flags, stream.id) + bytes(piece))
            stream.unsent = rest or None
        if stream.after:
            self._write(stream.after)
        return True
