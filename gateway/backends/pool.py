"""The model server replicas: which one gets a call, and what happens when it fails."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from random import random
from typing import Final

from gateway import settings
from gateway.addresses import bracketed
from gateway.backends.choose import Backend, choose
from gateway.backends.hedge import Hedging
from gateway.backends.limit import ReplicaLimit
from gateway.backends.objective import Objectives, Subject
from gateway.backends.outliers import EJECTED_FIRST, EJECTED_MOST, seconds_out
from gateway.backends.retry import MOST, REPEATABLE, Fault, RetryBudget, fault_of
from gateway.backends.rpc import RpcError, Transport
from gateway.observe.metrics import Metrics
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.status import Code

log = logging.getLogger("gateway.backends.pool")

FAILURES_UNTIL_EJECTED: Final = 3
PROBE_TIMEOUT: Final = 1.0
SILENCE: Final = 1.0
"""Seconds without a byte from a connection after which a call that timed out counts against the replica."""
REPLICA_DRAIN_SECONDS: Final = 30.0
"""How long a replica that left the list may take to finish its calls."""
BUSY_PAUSE, BUSY_PAUSE_MOST = 0.01, 0.1
"""Upper bounds in seconds of the random pause before a full replica is asked again: at first, and after doubling."""
MISSING_SECONDS: Final = 1.0
"""How long a replica that did not know a version or label is not asked for it, while others may know it."""
MISSING_KEPT: Final = 4096
"""Replicas and what they lack that are remembered; clients choose the names, so there must be an end."""
PLACES_FOR: Final = 0.02
"""Seconds for which the sum of all limits is kept."""

FIRST_REPLICA_PAUSE: Final = 0.05
"""Seconds between two looks for the first replica, where there may be none."""
_NO_ADDRESS: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
"""What a name without addresses is resolved to, as that of a headless Service without ready pods."""

Resolve = Callable[[str, int], Awaitable[tuple[str, ...]]]


class Pool:
    """All replicas. Started once; `configure` may change what it connects to at any time."""

    def __init__(
        self,
        *,
        connect: Callable[[str], Transport],
        resolve: Resolve,
        metrics: Metrics,
        objectives: Objectives,
        most: int,
        chance: Callable[[], float] = random,
    ) -> None:
        """`most` is the largest limit of a replica, and the retries that are kept in reserve."""
        self._connect = connect
        self._resolve = resolve
        self._metrics = metrics
        self._chance = chance
        self._time = asyncio.get_running_loop().time
        self._objectives = objectives
        self._most = most
        self.pressed: Callable[[], bool] = lambda: False
        """Whether requests wait for a place; then limits grow although few calls are in flight."""
        self.budget = RetryBudget(most)
        self._hedging = Hedging(metrics, self._time)
        self._places, self._places_until = 0, 0.0
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
        self._hedging.configure(where.hedge)
        if self._refresher is not None:
            self._refresher.cancel()
        await self._refresh()
        if where.dns is not None:
            self._refresher = asyncio.create_task(self._keep_fresh(where.refresh_seconds), name="resolve backends")

    def resize(self, most: int) -> None:
        """Take a new bound of every limit."""
        self._most = most
        self.budget.reserve = float(most)
        for backend in self.backends:
            backend.limit.most = float(most)
            backend.limit.value = min(backend.limit.value, float(most))

    def places(self) -> int:
        """Calls that the usable replicas take at a time, by what their limits are now; `most` when there are none."""
        now = self._time()
        if now >= self._places_until:
            connected = [backend for backend in self.backends if backend.transport.connected]
            usable = [backend for backend in connected if not backend.ejected] or connected
            self._places = sum(int(backend.limit.value) for backend in usable) or self._most
            self._places_until = now + PLACES_FOR
        return self._places

    async def close(self) -> None:
        """Close every connection."""
        for task in (self._refresher, *self._tasks):
            if task is not None:
                task.cancel()
        await asyncio.gather(*(backend.transport.close() for backend in self.backends))

    async def call(
        self, method: methods.Method, message: bytes, deadline: float, subject: Subject | None = None
    ) -> bytes:
        """One call, repeated elsewhere where that can help. `deadline` is loop time.

        `subject` is what a replica must know to respond: a model, and a label or version of it. A replica that just did
        not know it is passed over. A full replica is not the end: others are asked, then it again, until the deadline.
        Errors: RpcError of the last attempt.
        """
        self.budget.deposit()
        tried: list[Backend] = []
        repeated: list[Fault] = []
        last: RpcError | None = None
        pause = BUSY_PAUSE
        while True:
            knowing = self._knowing(subject)
            backend = choose(knowing, tried, self._chance) or choose(self.backends, tried, self._chance)
            if backend is None and self._waits_for_the_first(deadline):
                await asyncio.sleep(FIRST_REPLICA_PAUSE)
                tried.clear()
                continue
            if backend is None:
                raise last or RpcError(Code.UNAVAILABLE, self._no_replica(), local=True)
            try:
                return await self._ask(backend, tried, method, message, deadline, subject)
            except RpcError as error:
                last, fault = error, fault_of(error)
            if fault is Fault.BUSY:
                if not self._wait_for_room(deadline, pause):
                    raise last
                tried.append(backend)
                if all(one in tried for one in self.backends if one.transport.connected):
                    tried.clear()
                self._metrics.retries.add(fault.value)
                await asyncio.sleep(self._chance() * pause)
                pause = min(pause * 2, BUSY_PAUSE_MOST)
                continue
            if not self._may_repeat(fault, repeated):
                raise last
            repeated.append(fault)
            if fault is not Fault.POISONED:
                tried.append(backend)

    async def _ask(
        self,
        backend: Backend,
        tried: list[Backend],
        method: methods.Method,
        message: bytes,
        deadline: float,
        subject: Subject | None,
    ) -> bytes:
        """A call to a replica, hedged with one to another that was not tried yet; that one is tried then. Errors:
        RpcError."""
        call = self._send(backend, method, message, deadline, subject)
        if not self._hedging.enabled or method is not methods.PREDICT or subject is None:
            return await call

        def second() -> Coroutine[None, None, bytes] | None:
            free = [b for b in self._knowing(subject) if b is not backend and not b.ejected and b.usage <= 1]
            other = None if self.pressed() else choose(free, tried, self._chance)
            if other is None:
                return None
            tried.append(other)
            return self._send(other, method, message, deadline, subject)

        def late(seconds: float) -> None:
            # It took at least this long, which says something only where it is more than is known.
            if self._objectives.load(subject, seconds) > backend.limit.load:
                self._judge(backend, subject, seconds)

        return await self._hedging.run(subject, call, second, late)

    async def _send(
        self, backend: Backend, method: methods.Method, message: bytes, deadline: float, subject: Subject | None
    ) -> bytes:
        """One call to one replica, which learns from what comes of it. Errors: RpcError."""
        learning = subject if method is methods.PREDICT else None
        started = self._time()
        backend.outstanding += 1
        backend.limit.sent(backend.outstanding)
        alone = backend.outstanding == 1
        try:
            response = await backend.transport.call(method.path, message, deadline - started)
        except RpcError as error:
            failed, fault = error, fault_of(error)
        else:
            backend.failures = 0
            if learning is not None:
                self._learn(backend, learning, self._time() - started, alone=alone)
            return response
        finally:
            backend.outstanding -= 1
        self._remember(backend, fault, started)
        if fault is Fault.SILENT and learning is not None:
            self._learn(backend, learning, self._time() - started, alone=False)
        if fault is Fault.BUSY:
            backend.limit.refused(backend.outstanding, self._time())
        if fault is Fault.UNCONVERGED:
            self._remember_lack(backend, subject)
        raise failed

    def _waits_for_the_first(self, deadline: float) -> bool:
        """Whether no replica is an ordinary state, and one may still come before the deadline."""
        some = any(backend.transport.connected for backend in self.backends)
        return self._where.scale_to_zero and not some and self._time() + FIRST_REPLICA_PAUSE < deadline

    def _wait_for_room(self, deadline: float, pause: float) -> bool:
        return self._time() + pause < deadline

    def _learn(self, backend: Backend, subject: Subject, seconds: float, *, alone: bool) -> None:
        """Let a response of a replica change its limit, and take the replica out of use when it is an outlier."""
        self._objectives.learn(subject, backend.address, seconds, alone=alone)
        self._judge(backend, subject, seconds)

    def _judge(self, backend: Backend, subject: Subject, seconds: float) -> None:
        now, trial = self._time(), backend.limit.trial
        load = self._objectives.load(subject, seconds)
        if not backend.limit.answered(load, now, pressed=self.pressed()):
            return
        out = seconds_out(backend, self.backends, trial=trial)
        if out is not None:
            backend.ejected = True
            self._metrics.ejections.add()
            log.warning("%s is out of use for %.0f s: its latency is an outlier", backend.address, out)
            self._spawn(self._try_again(backend, out))

    async def _try_again(self, backend: Backend, seconds: float) -> None:
        """Give a replica that was slow one call after a while; that call decides."""
        await asyncio.sleep(seconds)
        backend.limit.restart(self._time())
        backend.ejected = False

    def _knowing(self, subject: Hashable) -> Sequence[Backend]:
        """The replicas that have not just shown that they do not know a subject."""
        if not self._missing:
            return self.backends
        now = self._time()
        return [b for b in self.backends if self._missing.get((b, subject), 0.0) <= now]

    def _remember_lack(self, backend: Backend, subject: Hashable) -> None:
        now = self._time()
        self._missing = {key: until for key, until in self._missing.items() if until > now}
        if len(self._missing) < MISSING_KEPT:
            self._missing[backend, subject] = now + MISSING_SECONDS

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
        """Probe an ejected replica until it responds at all."""
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
                if not (self._where.scale_to_zero and error.errno in _NO_ADDRESS):
                    log.warning("cannot resolve %s (%s); the known addresses stay", host, error)
                    return
                wanted = ()
        known = {backend.address: backend for backend in self.backends}
        new = [
            Backend(address, self._connect(address), ReplicaLimit(self._time(), self._most))
            for address in dict.fromkeys(wanted)
            if address not in known
        ]
        gone = [backend for address, backend in known.items() if address not in wanted]
        self.backends = (*(b for b in self.backends if b not in gone), *new)
        for backend in gone:
            log.info("%s left the list", backend.address)
            self._objectives.forget(backend.address)
            self._spawn(self._retire(backend))
        await asyncio.gather(*(backend.transport.start() for backend in new))

    async def _retire(self, backend: Backend) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + REPLICA_DRAIN_SECONDS
        while backend.outstanding and loop.time() < until:
            await asyncio.sleep(0.05)
        await backend.transport.close()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _no_replica(self) -> str:
        if not self.backends:
            return f"no model server is known: {self._where.dns or 'the list'} is empty"
        return f"none of {len(self.backends)} model servers is connected ({self.backends[0].address} …)"


async def resolve(host: str, port: int) -> tuple[str, ...]:
    """Every address of a name as HOST:PORT, in a stable order. Errors: OSError when the name does not resolve.

    A replica with an address of each family is one replica: only those of the family that the system prefers count.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    hosts = sorted({str(entry[4][0]) for entry in found if entry[0] == found[0][0]})
    return tuple(f"{bracketed(address)}:{port}" for address in hosts)
