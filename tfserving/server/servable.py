"""One loaded model version: its signatures and how to run them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tfserving.server.runtime import Endpoint, Session
from tfserving.wire import messages_pb2 as m
from tfserving.wire.tensor import Tensor


class Runner(Protocol):
    """Something that computes outputs from inputs by tensor name: a session, or a queue that batches for one."""

    def run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_ms: int) -> list[Tensor]:
        """Outputs in the order of `fetches`. Errors: StatusError."""
        ...

    def close(self) -> None:
        """Free what it holds; only when nothing runs any more."""
        ...


class DirectRunner:
    """Runs every request by itself.

    A run in the caller's thread costs a fifth of one in TensorFlow's pool, but cannot be interrupted when its deadline
    passes. It is used for graphs without loops, once an input at least as large has been seen to run quickly. Quick is
    meant as work: the lesser of the time and of the CPU time of the process, because under a CPU limit a run of a
    millisecond may take ten.
    """

    QUICK_SECONDS = 0.005
    SLOW_SECONDS = 0.05

    def __init__(self, session: Session) -> None:
        self._session = session
        self._endpoints: dict[str, Endpoint] = {}
        self._quick_bytes: dict[tuple[str, ...], int] = {}

    def run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_ms: int) -> list[Tensor]:
        """See `Runner.run`."""
        size = sum([tensor.array.nbytes for tensor in feeds.values()])
        key = tuple(fetches)
        quick = not self._session.loops and size <= self._quick_bytes.get(key, -1)
        start, worked = time.perf_counter(), time.process_time()
        outputs = self._session.run(
            [(self._endpoint(name), tensor) for name, tensor in feeds.items()],
            [self._endpoint(name) for name in fetches],
            timeout_ms=timeout_ms,
            in_callers_thread=quick,
        )
        seconds = min(time.perf_counter() - start, time.process_time() - worked)
        if quick and seconds > self.SLOW_SECONDS:
            self._quick_bytes.pop(key, None)
        elif not quick and seconds < self.QUICK_SECONDS:
            self._quick_bytes[key] = max(size, self._quick_bytes.get(key, -1))
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
