"""An event loop whose time is computed, and model server replicas that work in it: a minute takes a second."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from selectors import SelectSelector
from typing import Any

from gateway.backends.rpc import RpcError
from tfserving.wire.status import Code


class _Jump(SelectSelector):
    """Waits for nothing: what the loop would have waited is added to its time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is not None:
            self.now += max(0.0, timeout)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Timers come in order and at once."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def simulate(work: Coroutine[Any, Any, None]) -> None:
    """Run something to its end in simulated time."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(work)


@dataclass(eq=False)
class SimulatedReplica:
    """A transport to a replica that works on `workers` calls at a time, each for `seconds`; the others wait.

    With more than `room` calls it refuses as TensorFlow Serving does when its queue is full.
    """

    seconds: float
    workers: int = 1
    room: int = 1 << 30
    connected: bool = True
    last_received: float = 0.0
    served: int = 0
    inside: int = 0
    refusals: int = 0

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.workers)

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def call(self, path: str, message: bytes, timeout: float) -> bytes:
        if self.inside >= self.room:
            self.refusals += 1
            raise RpcError(Code.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full")
        self.inside += 1
        try:
            async with asyncio.timeout(timeout), self._free:
                await asyncio.sleep(self.seconds)
        except TimeoutError as error:
            raise RpcError(Code.DEADLINE_EXCEEDED, "no response in time", local=True) from error
        finally:
            self.inside -= 1
        self.served += 1
        self.last_received = asyncio.get_running_loop().time()
        return b""
