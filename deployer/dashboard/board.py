"""The latest document of each topic, and who waits for the next one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec


class Board:
    """Threads post documents; each page that listens gets what has changed since it was last told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._latest: dict[str, tuple[int, bytes]] = {}
        self._listeners: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self.closed = False

    def post(self, topic: str, document: object) -> None:
        """Replace the document of a topic; one that has not changed is not sent again."""
        content = msgspec.json.encode(document)
        with self._lock:
            if topic in self._latest and self._latest[topic][1] == content:
                return
            self._number += 1
            self._latest[topic] = self._number, content
            self._wake()

    def close(self) -> None:
        """Tell every listener that nothing more comes."""
        with self._lock:
            self.closed = True
            self._wake()

    def since(self, number: int) -> tuple[int, list[tuple[str, bytes]]]:
        """Topics and documents that are newer than `number`, and the number to ask with next time; 0 asks for all."""
        with self._lock:
            return self._number, [(topic, content) for topic, (at, content) in self._latest.items() if at > number]

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event of the running loop that is set whenever something is posted."""
        event = asyncio.Event()
        with self._lock:
            self._listeners[event] = asyncio.get_running_loop()
        try:
            yield event
        finally:
            with self._lock:
                del self._listeners[event]

    def _wake(self) -> None:
        for event, loop in self._listeners.items():
            loop.call_soon_threadsafe(event.set)
