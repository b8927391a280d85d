"""The model server replicas: which one gets a call, and what happens when it fails."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from random import random
from typing import Final

from gateway import settings
from gateway.backends.retry import MOST, REPEATABLE, Fault, RetryBudget, fault_of
from gateway.backends.rpc import RpcError, Transport
from gateway.observe.metrics import Metrics
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.status import Code

log = logging.getLogger("gateway.backends.pool")

FAILURES_UNTIL_EJECTED: Final = 3
EJECTED_FIRST, EJECTED_MOST = 1.0, 30.0
"""Seconds out of use before a probe; doubled each time the probe fails."""
PROBE_TIMEOUT: Final = 1.0
SILENCE: Final = 1.0
"""Seconds without a byte from a connection after which a call that timed out counts against the replica."""
DRAIN_SECONDS: Final = 30.0
"""How long a replica that left the list may take to finish its calls."""
BUSY_PAUSE: Final = 0.01
"""Upper bound in seconds of the random pause before another replica is asked instead of a full one."""
LACKING_SECONDS: Final = 1.0
"""How long a replica that did not know a version or label is not asked for it, while others may know it."""
LACKS_KEPT: Final = 4096
"""Replicas and what they lack that are remembered; clients choose the names, so there must be an end."""
SAMPLE: Final = 16
"""Above this many replicas a choice looks at a sample instead of at all of them."""
DRAWN: Final = 4
"""Replicas in a sample."""

Resolve = Callable[[str, int], Awaitable[tuple[str, ...]]]


class Backend:
    """One replica: its connection, its calls in flight and its record."""

    def __init__(self, address: str, transport: Transport) -> None:
        self.address = address
        self.transport = transport
        self.outstanding = 0
        self.failures = 0
        self.ejected = False

    @property
    def state(self) -> str:
        """`ready`, `ejected` or `disconnected`."""
        if not self.transport.connected:
            return "disconnected"
        return "ejected" if self.ejected else "ready"


def choose(backends: Sequence[Backend], tried: Collection[Backend], chance: Callable[[], float]) -> Backend | None:
    """The less loaded of two random usable replicas that were not tried yet; None when there is none.

    Above `SAMPLE` replicas it is the least loaded of those among `DRAWN` random ones that are usable, if any is.
    Ejected replicas are used only when every connected one is ejected: a guess is better than a refusal.
    """
    if len(backends) > SAMPLE:
        sample = [backends[int(chance() * len(backends))] for _ in range(DRAWN)]
        usable = [b for b in sample if b.transport.connected and not b.ejected and b not in tried]
        if usable:
            return min(usable, key=lambda b: b.outstanding)
    connected = [b for b in backends if b.transport.connected and b not in tried]
    usable = [b for b in connected if not b.ejected] or connected
    if len(usable) < 2:
        return usable[0] if usable else None
    first = int(chance() * len(usable))
    second = int(chance() * (len(usable) - 1))
    if second >= first:
        second += 1
    one, other = usable[first], usable[second]
    return one if one.outstanding <= other.outstanding else other


class Pool:
    """All replicas. Started once; `configure` may change what it connects to at any time."""

    def __init__(
        self,
        *,
        connect: Callable[[str], Transport],
        resolve: Resolve,
        metrics: Metrics,
        retries_in_reserve: int,
        chance: Callable[[], float] = random,
    ) -> None:
        self._connect = connect
        self._resolve = resolve
        self._metrics = metrics
        self._chance = chance
        self._time = asyncio.get_running_loop().time
        self.budget = RetryBudget(retries_in_reserve)
        self.backends: tuple[Backend, ...] = ()
        self._missing: dict[tuple[Backend, Hashable], float] = {}
        self._where = settings.Backends()
        self._refresher: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def configure(self, where: settings.Backends) -> None:
        """Use these replicas from now on; returns when each new one was tried once."""
        if where == self._where:
            return
        self._where = where
        if self._refresher is not None:
            self._refresher.cancel()
        await self._refresh()
        if where.dns is not None:
            self._refresher = asyncio.create_task(self._keep_fresh(where.refresh_seconds), name="resolve backends")

    async def close(self) -> None:
        """Close every connection."""
        for task in (self._refresher, *self._tasks):
            if task is not None:
                task.cancel()
        await asyncio.gather(*(backend.transport.close() for backend in self.backends))

    async def call(self, method: methods.Method, message: bytes, deadline: float, subject: Hashable = None) -> bytes:
        """One call, repeated elsewhere where that can help. `deadline` is loop time.

        `subject` is what a replica must know to answer, such as a label of a model: one that just did not know it is
        passed over. Errors: RpcError of the last attempt.
        """
        self.budget.deposit()
        tried: list[Backend] = []
        repeated: list[Fault] = []
        last: RpcError | None = None
        while True:
            knowing = self._knowing(subject)
            backend = choose(knowing, tried, self._chance) or choose(self.backends, tried, self._chance)
            if backend is None:
                raise last or RpcError(Code.UNAVAILABLE, self._nobody(), local=True)
            started = self._time()
            backend.outstanding += 1
            try:
                answer = await backend.transport.call(method.path, message, deadline - started)
            except RpcError as error:
                last, fault = error, fault_of(error)
            else:
                backend.failures = 0
                return answer
            finally:
                backend.outstanding -= 1
            self._remember(backend, fault, started)
            if fault is Fault.UNCONVERGED:
                self._remember_lack(backend, subject)
            if not self._may_repeat(fault, repeated):
                raise last
            repeated.append(fault)
            if fault is not Fault.POISONED:
                tried.append(backend)
            if fault is Fault.BUSY:
                await asyncio.sleep(self._chance() * BUSY_PAUSE)

    def _knowing(self, subject: Hashable) -> Sequence[Backend]:
        """The replicas that have not just shown that they do not know a subject."""
        if not self._missing:
            return self.backends
        now = self._time()
        return [b for b in self.backends if self._missing.get((b, subject), 0.0) <= now]

    def _remember_lack(self, backend: Backend, subject: Hashable) -> None:
        now = self._time()
        self._missing = {key: until for key, until in self._missing.items() if until > now}
        if len(self._missing) < LACKS_KEPT:
            self._missing[backend, subject] = now + LACKING_SECONDS

    def _may_repeat(self, fault: Fault, repeated: Sequence[Fault]) -> bool:
        if fault not in REPEATABLE or repeated.count(fault) >= MOST.get(fault, len(self.backends)):
            return False
        if not self.budget.withdraw():
            return False
        self._metrics.retries.add(fault.value)
        return True

    def _remember(self, backend: Backend, fault: Fault, started: float) -> None:
        silent = (
            fault is Fault.SILENT and backend.transport.last_received < started and self._time() - started >= SILENCE
        )
        if not (fault is Fault.BROKEN or silent):
            if fault is not Fault.SILENT:
                backend.failures = 0
            return
        backend.failures += 1
        if backend.failures >= FAILURES_UNTIL_EJECTED and not backend.ejected and backend.transport.connected:
            backend.ejected = True
            self._metrics.ejections.add()
            log.warning("%s is out of use after %d failures in a row", backend.address, backend.failures)
            self._spawn(self._readmit(backend))

    async def _readmit(self, backend: Backend) -> None:
        """Probe an ejected replica until it answers anything at all."""
        pause = EJECTED_FIRST
        probe = m.GetModelStatusRequest(model_spec=m.ModelSpec(name="gateway-probe")).SerializeToString()
        while backend in self.backends:
            await asyncio.sleep(pause)
            try:
                await backend.transport.call(methods.GET_MODEL_STATUS.path, probe, PROBE_TIMEOUT)
            except RpcError as error:
                if error.local or error.code == Code.UNAVAILABLE:
                    pause = min(pause * 2, EJECTED_MOST)
                    continue
            backend.ejected, backend.failures = False, 0
            log.info("%s is back in use", backend.address)
            return

    async def _keep_fresh(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._refresh()

    async def _refresh(self) -> None:
        """Make the list what the config, or its name in DNS, says now."""
        if self._where.dns is None:
            wanted = tuple(self._where.static or ())
        else:
            host, _, port = self._where.dns.rpartition(":")
            try:
                wanted = await self._resolve(host.strip("[]"), int(port))
            except OSError as error:
                log.warning("cannot resolve %s (%s); the known addresses stay", host, error)
                return
        known = {backend.address: backend for backend in self.backends}
        new = [Backend(address, self._connect(address)) for address in dict.fromkeys(wanted) if address not in known]
        gone = [backend for address, backend in known.items() if address not in wanted]
        self.backends = (*(b for b in self.backends if b not in gone), *new)
        for backend in gone:
            log.info("%s left the list", backend.address)
            self._spawn(self._retire(backend))
        await asyncio.gather(*(backend.transport.start() for backend in new))

    async def _retire(self, backend: Backend) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + DRAIN_SECONDS
        while backend.outstanding and loop.time() < until:
            await asyncio.sleep(0.05)
        await backend.transport.close()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _nobody(self) -> str:
        if not self.backends:
            return f"no model server is known: {self._where.dns or 'the list'} is empty"
        return f"none of {len(self.backends)} model servers is connected ({self.backends[0].address} …)"


async def resolve(host: str, port: int) -> tuple[str, ...]:
    """Every address of a name as HOST:PORT, in a stable order. Errors: OSError when the name does not resolve."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    hosts = sorted({str(entry[4][0]) for entry in found})
    return tuple(f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address in hosts)
