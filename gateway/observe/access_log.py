"""One JSON object a request on standard output: what was asked by whom, what came of it, and how long it took.

Bodies, query values and credentials never stand in it. A thread writes, so a slow reader of the output holds nobody up;
what it cannot take is dropped and counted.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from random import random
from typing import Final, TextIO

import msgspec

from gateway.observe.trace import Trace

WAITING: Final = 10_000
"""Entries that may wait for the writer."""


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line. Times are in milliseconds; `stages` is the time in each, `stage` the one that refused the request."""

    time: str
    request_id: str
    method: str
    path: str
    status: int
    ms: float
    bytes: int
    client: str = ""
    caller: str = ""
    trace_id: str = ""
    span_id: str = ""
    model: str = ""
    version: str = ""
    label: str = ""
    kind: str = ""
    records: int = 0
    stage: str = ""
    stages: dict[str, float] = {}


class AccessLog:
    """Off until `configure` gets a share. `chance` and `output` are seams for tests."""

    def __init__(self, *, chance: Callable[[], float] = random, output: TextIO = sys.stdout) -> None:
        self._chance = chance
        self._output = output
        self._sample: float | None = None
        self._entries: queue.Queue[Entry | None] = queue.Queue(WAITING)
        self._writer: threading.Thread | None = None
        self.dropped = 0

    def configure(self, sample: float | None) -> None:
        """Log this share of the requests that went well, and all others; None for no log."""
        self._sample = sample
        if sample is not None and self._writer is None:
            self._writer = threading.Thread(target=self._write, name="access log", daemon=True)
            self._writer.start()

    def wants(self, status: int) -> bool:
        """Whether a request with this outcome is to be logged."""
        return self._sample is not None and (status >= 400 or self._chance() < self._sample)

    def add(self, entry: Entry) -> None:
        """Log a request; never waits."""
        try:
            self._entries.put_nowait(entry)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what waits, within a second."""
        if self._writer is not None:
            try:
                self._entries.put(None, timeout=1.0)
            except queue.Full:
                return
            self._writer.join(1.0)

    def _write(self) -> None:
        while (entry := self._entries.get()) is not None:
            try:
                self._output.write(msgspec.json.encode(entry).decode() + "\n")
                self._output.flush()
            except (OSError, ValueError):  # nobody reads any more
                self.dropped += 1


def now() -> str:
    """The time in UTC, as RFC 3339 has it."""
    seconds = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1000):03d}Z"


def described(entry: Entry, trace: Trace) -> None:
    """Put into an entry what is known of a prediction."""
    entry.model, entry.version, entry.label = trace.model, trace.version, trace.label
    entry.kind, entry.records, entry.stage = trace.kind, trace.records, trace.failed
    entry.stages = {stage: round(seconds * 1000, 3) for stage, seconds in trace.stages}
