"""Joins concurrent requests for the same model, version and spec into one: preprocessing, call and interpretation
happen once for all their records.

Worth it when the model server does not batch itself, or when the cost of a call dominates. A request that finds no
call of its kind in flight leaves at once. Others gather until that call is back, the batch is full, or
`max_wait_micros` have passed. Off by default.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, Self, TypeVar

from gateway.backends.rows import Rows
from gateway.backends.rpc import RpcError
from gateway.errors import GatewayError
from gateway.observe.metrics import Metrics
from gateway.observe.trace import Trace
from gateway.routing.labels import Choice
from gateway.settings import Batching
from tfserving.wire.status import Code

Key = tuple[str, Choice, int]
"""Model, what is asked for, and the identity of the spec that makes the rows."""
Records = Sequence[Mapping[str, object]]

OF_THE_MOMENT: Final = frozenset({
    Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.ABORTED, Code.NOT_FOUND,
    Code.UNIMPLEMENTED, Code.UNAUTHENTICATED, Code.PERMISSION_DENIED,
})  # fmt: skip
"""Errors that no row causes: the same call with fewer rows would end alike, and cost a busy model server more."""


class Part(Protocol):
    """An outcome that is cut along its records."""

    def part(self, start: int, stop: int) -> Self:
        """That of the records from `start` until `stop`."""


R = TypeVar("R", bound=Part)
R_co = TypeVar("R_co", bound=Part, covariant=True)


class Job(Protocol[R_co]):
    """How records of one key are handled; the stages that have passed are marked in the trace."""

    async def prepare(self, records: Records, trace: Trace) -> Rows:
        """The rows of the records. Errors: GatewayError that is of the records."""

    async def run(self, rows: Rows, deadline: float, trace: Trace) -> R_co:
        """The outcome for rows, until a deadline in loop time. Errors: GatewayError, RpcError."""


@dataclass(slots=True, kw_only=True)
class _Member(Generic[R]):
    records: Records
    deadline: float
    trace: Trace
    done: asyncio.Future[R]

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def succeed(self, outcome: R) -> None:
        if not self.done.done():
            self.done.set_result(outcome)


@dataclass(slots=True, kw_only=True)
class _Batch(Generic[R]):
    job: Job[R]
    members: list[_Member[R]] = field(default_factory=list)
    records: int = 0
    leaves: asyncio.Handle | None = None


class Batcher(Generic[R]):
    """One open batch per key. It leaves when nothing of its key is in flight, it is full, or it has waited enough."""

    def __init__(self, settings: Batching, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._open: dict[Key, _Batch[R]] = {}
        self._flying: dict[Key, int] = {}
        self._running: set[asyncio.Task[None]] = set()

    @property
    def enabled(self) -> bool:
        return self._settings.enabled

    def configure(self, settings: Batching) -> None:
        """Take new bounds; open batches leave by the old timer."""
        self._settings = settings

    async def submit(self, key: Key, job: Job[R], records: Records, deadline: float, trace: Trace, *, most: int) -> R:
        """The outcome for these records, computed together with others; a call takes at most `most` records.

        Errors: what `job` raises for these records; RpcError DEADLINE_EXCEEDED when their deadline passes first.
        """
        most = min(most, self._settings.max_batch_size)
        if len(records) >= most:
            return await job.run(await job.prepare(records, trace), deadline, trace)
        batch = self._open.get(key)
        if batch is not None and batch.records + len(records) > most:
            self._dispatch(key, batch)
            batch = None
        if batch is None:
            batch = self._open[key] = _Batch(job=job)
            batch.leaves = self._leaving(key, batch)
        member = _Member[R](
            records=records, deadline=deadline, trace=trace, done=asyncio.get_running_loop().create_future()
        )
        batch.members.append(member)
        batch.records += len(records)
        if batch.records >= most:
            self._dispatch(key, batch)
        try:
            async with asyncio.timeout_at(deadline):
                return await member.done
        except TimeoutError as error:
            raise RpcError(Code.DEADLINE_EXCEEDED, "no response before the deadline", local=True) from error

    def _leaving(self, key: Key, batch: _Batch[R]) -> asyncio.Handle:
        loop = asyncio.get_running_loop()
        if key in self._flying:
            return loop.call_later(self._settings.max_wait_micros / 1e6, self._dispatch, key, batch)
        return loop.call_soon(self._dispatch, key, batch)  # With those that were read in the same turn of the loop.

    def _dispatch(self, key: Key, batch: _Batch[R]) -> None:
        if self._open.get(key) is not batch:
            return
        del self._open[key]
        if batch.leaves is not None:
            batch.leaves.cancel()
        self._flying[key] = self._flying.get(key, 0) + 1
        task = asyncio.get_running_loop().create_task(self._run(key, batch))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, key: Key, batch: _Batch[R]) -> None:
        try:
            members = [member for member in batch.members if not member.done.done()]
            for member in members:
                member.trace.mark("batch")
            await self._answer(key[0], batch.job, members)
        finally:
            self._land(key)

    def _land(self, key: Key) -> None:
        left = self._flying[key] - 1
        if left:
            self._flying[key] = left
            return
        del self._flying[key]
        if (waiting := self._open.get(key)) is not None:
            self._dispatch(key, waiting)

    async def _answer(self, model: str, job: Job[R], members: list[_Member[R]]) -> None:
        shared = Trace()
        members, rows = await _prepared(job, members, shared)
        if rows is None:
            return
        self._metrics.batch_rows.observe(len(rows), model)
        if len(members) > 1:
            try:
                outcome = await job.run(rows, max(member.deadline for member in members), shared)
                _share(members, outcome, shared)
            except Exception as error:
                if not _of_a_row(error):
                    for member in members:
                        member.fail(error)
                    return
            else:
                return
        # Alone: a single member, a batch that one member spoils, or a model whose output does not follow its rows.
        await asyncio.gather(
            *(_alone(job, member, rows[start:stop], shared) for member, start, stop in _placed(members))
        )


async def _prepared(job: Job[R], members: list[_Member[R]], trace: Trace) -> tuple[list[_Member[R]], Rows | None]:
    """The members whose records are good, and the rows of all of them; the others are told what is wrong."""
    if not members:
        return [], None
    try:
        return members, await job.prepare([record for member in members for record in member.records], trace)
    except Exception as error:
        if len(members) == 1:
            members[0].fail(error)
            return [], None
    good: list[_Member[R]] = []
    rows: list[Rows] = []
    for member in members:
        try:
            rows.append(await job.prepare(member.records, trace))
        except Exception as error:
            member.fail(error)
        else:
            good.append(member)
    return good, Rows.joined(rows) if rows else None


async def _alone(job: Job[R], member: _Member[R], rows: Rows, shared: Trace) -> None:
    member.trace.adopt(shared)
    try:
        member.succeed(await job.run(rows, member.deadline, member.trace))
    except Exception as error:
        member.fail(error)


def _of_a_row(error: Exception) -> bool:
    """Whether the rows of one member may have caused an error, so that the others deserve a call without it."""
    if isinstance(error, RpcError):
        return error.code not in OF_THE_MOMENT
    return not isinstance(error, GatewayError) or error.stage == "interpret"


def _share(members: Sequence[_Member[R]], outcome: R, shared: Trace) -> None:
    for member, start, stop in _placed(members):
        member.trace.adopt(shared)
        member.succeed(outcome.part(start, stop))


def _placed(members: Sequence[_Member[R]]) -> list[tuple[_Member[R], int, int]]:
    """Each member with the place of its records."""
    placed, at = [], 0
    for member in members:
        placed.append((member, at, at + len(member.records)))
        at += len(member.records)
    return placed
