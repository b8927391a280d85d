"""One process's share of a trial: sends on schedule, records latencies, checks responses."""

from __future__ import annotations

import asyncio
import gc
import time
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from deployer.errors import TargetError
from deployer.experiment.loadgen import recording, schedule
from deployer.experiment.loadgen.alarm import Alarm
from deployer.experiment.loadgen.plan import ClosedLoop, OpenLoop, Outcome, Plan
from deployer.records import files
from deployer.records.endpoint import Value
from deployer.records.expected import Checker
from deployer.records.send import Sender, SendFailed, sender

_AFTER_FAILURE = 0.01
"""Pause of a closed-loop client after a failure, in seconds, so that refused connections do not cause a busy loop."""

Ready = Callable[[], float]
"""Called when everything is prepared; returns the common start of the trial (`time.monotonic()`)."""


def run(plan: Plan, ready: Ready) -> Outcome:
    """Run one share of a plan and return its outcome.

    Errors: SpecError for records that the target cannot accept; TargetError when the connection fails, or when a
    request of the reference pass fails.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_run(plan, ready))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not available on every platform; asyncio's own loop is slower
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _run(plan: Plan, ready: Ready) -> Outcome:
    samples = await asyncio.to_thread(files.load, Path(plan.records))
    groups = files.batches(samples, plan.batch)
    try:
        out = sender(plan.target, timeout=plan.timeout)
        try:
            trial = _Trial(plan, out, groups)
            await out.open(plan.load.concurrency if isinstance(plan.load, ClosedLoop) else 4)
            gc.collect()
            gc.freeze()  # the collector can skip everything that was loaded before the trial
            return await trial.run(ready())
        finally:
            gc.unfreeze()
            await out.close()
    except SendFailed as error:
        raise TargetError(
            f"the load generator cannot use the target ({error.code})",
            cause=str(error),
            hint="check with `deployer status` that the release is up, and that it accepts these records",
        ) from error


class _Trial:
    def __init__(self, plan: Plan, out: Sender, groups: tuple[files.Batch, ...]) -> None:
        self._plan = plan
        self._out = out
        self._groups = groups
        self._payloads = [out.payload(group) for group in groups]
        self._checker = Checker(baseline=plan.baseline) if plan.baseline else None
        self._opens = self._closes = 0.0
        self._sent = self._completed = 0
        self._latency, self._lag = array("d"), array("d")
        self._errors: Counter[str] = Counter()
        self._first_error = ""
        self._cpu = [0.0, 0.0]

    async def run(self, start: float) -> Outcome:
        plan, loop = self._plan, asyncio.get_running_loop()
        self._opens = start + plan.warmup
        self._closes = self._opens + plan.seconds
        started = time.time() + self._opens - time.monotonic()
        predictions: tuple[Value, ...] = ()
        if isinstance(plan.load, OpenLoop | ClosedLoop):
            for mark, moment in enumerate((self._opens, self._closes)):
                loop.call_later(moment - time.monotonic(), self._mark_cpu, mark)
            await (
                self._open_loop(plan.load, start) if isinstance(plan.load, OpenLoop) else self._closed_loop(plan.load)
            )
            if not self._cpu[1]:  # all responses arrived before the window closed
                await asyncio.sleep(self._closes - time.monotonic())
                self._mark_cpu(1)
        else:
            predictions = await self._reference()
        return Outcome(
            sent=self._sent,
            answered=len(self._latency),
            completed=self._completed,
            late=sum(lag * 1e3 > plan.late_after_ms for lag in self._lag),
            errors=dict(self._errors),
            latency=recording.encode(self._latency),
            lag=recording.encode(self._lag),
            seconds=plan.seconds,
            started=started,
            cpu_seconds=self._cpu[1] - self._cpu[0],
            first_error=self._first_error,
            predictions=predictions,
        )

    def _mark_cpu(self, mark: int) -> None:
        self._cpu[mark] = time.process_time()

    async def _open_loop(self, load: OpenLoop, start: float) -> None:
        plan = self._plan
        arrivals = schedule.poisson(
            load.rate,
            plan.warmup + plan.seconds,
            seed=plan.seed,
            payloads=len(self._payloads),
            stream=plan.stream,
            streams=plan.processes,
        )
        loop, alarm, running = asyncio.get_running_loop(), Alarm(), set[asyncio.Task[bool]]()
        try:
            for offset, payload in zip(arrivals.due.tolist(), arrivals.payload.tolist(), strict=True):
                due = start + offset
                await alarm.until(due)
                if len(running) >= plan.max_outstanding:
                    self._overflow(due)
                    await asyncio.sleep(0)
                    continue
                task = loop.create_task(self._send_one(due, payload))
                running.add(task)
                task.add_done_callback(running.discard)
            if running:
                await asyncio.wait(running)
        finally:
            alarm.close()

    async def _closed_loop(self, load: ClosedLoop) -> None:
        async def client(number: int) -> None:
            payload = number
            while (due := time.monotonic()) < self._closes:
                if not await self._send_one(due, payload % len(self._payloads)):
                    await asyncio.sleep(_AFTER_FAILURE)
                payload += load.concurrency

        await asyncio.gather(*(client(number) for number in range(load.concurrency)))

    async def _reference(self) -> tuple[Value, ...]:
        found: dict[int, Value] = {}
        for group, payload in zip(self._groups, self._payloads, strict=True):
            predictions = self._out.predictions(await self._out.send(payload))
            if len(predictions) != len(group.indices):
                raise SendFailed("malformed", f"{len(predictions)} predictions for {len(group.indices)} records")
            found.update(zip(group.indices, predictions, strict=True))
        return tuple(found[index] for index in sorted(found))

    async def _send_one(self, due: float, payload: int) -> bool:
        """Send one request and record it; returns whether the response was correct."""
        measured = self._opens <= due < self._closes
        if measured:
            self._sent += 1
            self._lag.append(time.monotonic() - due)
        try:
            response = await self._out.send(self._payloads[payload])
            finished = time.monotonic()
            self._check(payload, response)
        except SendFailed as error:
            if measured:
                self._errors[error.code] += 1
                self._first_error = self._first_error or f"{error.code}: {error}"
            return False
        if measured:
            self._latency.append(finished - due)
        if self._opens <= finished < self._closes:
            self._completed += 1
        return True

    def _check(self, payload: int, response: bytes) -> None:
        if self._checker is None:
            return
        mismatch = self._checker.mismatch(self._groups[payload], self._out.predictions(response))
        if mismatch:
            raise SendFailed("wrong answer", mismatch)

    def _overflow(self, due: float) -> None:
        if self._opens <= due < self._closes:
            self._sent += 1
            self._errors["overflow"] += 1
            text = f"overflow: {self._plan.max_outstanding} requests were in flight"
            self._first_error = self._first_error or text
