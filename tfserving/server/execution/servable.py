"""One loaded model version: its signatures and how to run them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tfserving.server.execution.runtime import Endpoint, Session
from tfserving.wire import messages_pb2 as m
from tfserving.wire.tensor import Tensor


class NotQuick(Exception):
    """The run may take longer than its caller can wait; nothing was computed."""


class Runner(Protocol):
    """Something that computes outputs from inputs by tensor name: a session, or a queue that batches for one."""

    def run(
        self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_ms: int, *, only_if_quick: bool = False
    ) -> list[Tensor]:
        """Outputs in the order of `fetches`. Errors: StatusError; with `only_if_quick` also NotQuick."""
        ...

    def close(self) -> None:
        """Free what it holds; only when nothing runs any more."""
        ...


class DirectRunner:
    """Runs every request by itself.

    A run in the caller's thread costs much less than one in TensorFlow's pool, but cannot be interrupted when its
    deadline passes. It is used for graphs without loops, once inputs of that size have been seen to take little work.
    Work is CPU time, because under a CPU limit a run of a millisecond may last ten.
    """

    QUICK_SECONDS = 0.0005
    """Work that may be done on a thread that serves all connections."""
    SHORT_SECONDS = 0.02
    """Work that need not be interrupted."""
    WEIGHT = 0.2
    """Of the latest run in what is expected of the next."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._endpoints: dict[str, Endpoint] = {}
        self._expected: dict[tuple[tuple[str, ...], int], float] = {}

    def run(
        self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_ms: int, *, only_if_quick: bool = False
    ) -> list[Tensor]:
        """See `Runner.run`."""
        size = sum([tensor.array.nbytes for tensor in feeds.values()])
        key = (tuple(fetches), size.bit_length())
        expected = None if self._session.loops else self._expected.get(key)
        if only_if_quick and (expected is None or expected > self.QUICK_SECONDS):
            raise NotQuick
        here = expected is not None and expected <= self.SHORT_SECONDS
        clock = time.thread_time if here else time.process_time
        start, worked = time.perf_counter(), clock()
        outputs = self._session.run(
            [(self._endpoint(name), tensor) for name, tensor in feeds.items()],
            [self._endpoint(name) for name in fetches],
            timeout_ms=timeout_ms,
            in_callers_thread=here,
        )
        # The time of the process counts the work of other threads too, but no run works longer than it lasts, much.
        seconds = clock() - worked if here else min(time.perf_counter() - start, clock() - worked)
        self._expected[key] = seconds if expected is None else expected + self.WEIGHT * (seconds - expected)
        return outputs

    def close(self) -> None:
        """Free the model's memory."""
        self._session.close()

    def _endpoint(self, name: str) -> Endpoint:
        found = self._endpoints.get(name)
        if found is None:
            found = self._endpoints[name] = self._session.endpoint(name)
        return found


@dataclass(frozen=True)
class Servable:
    """A loaded version, ready to answer: all signatures, TensorFlow's helpers included, and what runs them."""

    signatures: m.SignatureDefMap
    runner: Runner
