"""Joins concurrent requests for the same model, version and spec into one call: fewer, larger RPCs.

Worth it when the model server does not batch itself, or when its per-call cost dominates; it trades up to
`max_wait_micros` of latency. Off by default.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.backends.model_server import Prediction
from gateway.backends.rows import Rows
from gateway.backends.rpc import RpcError
from gateway.observe.metrics import Metrics
from gateway.routing.labels import Choice
from gateway.settings import Batching
from tfserving.wire.status import Code

Key = tuple[str, Choice, int]
"""Model, what is asked for, and the version whose spec made the rows."""
Call = Callable[[Rows, float], Awaitable[Prediction]]
"""Sends rows with a deadline (loop time)."""


@dataclass(slots=True, kw_only=True)
class _Member:
    rows: Rows
    deadline: float
    done: asyncio.Future[Prediction]


@dataclass(slots=True, kw_only=True)
class _Batch:
    call: Call
    members: list[_Member] = field(default_factory=list)
    rows: int = 0
    timer: asyncio.TimerHandle | None = None


class Batcher:
    """One open batch per key; it leaves when it is full or its first member has waited long enough."""

    def __init__(self, settings: Batching, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._open: dict[Key, _Batch] = {}
        self._running: set[asyncio.Task[None]] = set()

    @property
    def enabled(self) -> bool:
        return self._settings.enabled

    def configure(self, settings: Batching) -> None:
        """Take new bounds; open batches leave by the old timer."""
        self._settings = settings

    async def submit(self, key: Key, call: Call, rows: Rows, deadline: float) -> Prediction:
        """The prediction for these rows, computed together with others.

        Errors: what `call` raises; RpcError DEADLINE_EXCEEDED when this member's deadline passes first.
        """
        if len(rows) >= self._settings.max_batch_size:
            return await call(rows, deadline)
        batch = self._open.get(key)
        if batch is not None and batch.rows + len(rows) > self._settings.max_batch_size:
            self._dispatch(key, batch)
            batch = None
        loop = asyncio.get_running_loop()
        if batch is None:
            batch = self._open[key] = _Batch(call=call)
            batch.timer = loop.call_later(self._settings.max_wait_micros / 1e6, self._dispatch, key, batch)
        member = _Member(rows=rows, deadline=deadline, done=loop.create_future())
        batch.members.append(member)
        batch.rows += len(rows)
        if batch.rows >= self._settings.max_batch_size:
            self._dispatch(key, batch)
        try:
            async with asyncio.timeout_at(deadline):
                return await member.done
        except TimeoutError as error:
            raise RpcError(Code.DEADLINE_EXCEEDED, "no answer before the deadline", local=True) from error

    def _dispatch(self, key: Key, batch: _Batch) -> None:
        if self._open.get(key) is batch:
            del self._open[key]
        if batch.timer is not None:
            batch.timer.cancel()
            batch.timer = None
            task = asyncio.get_running_loop().create_task(self._run(key[0], batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, model: str, batch: _Batch) -> None:
        members = [member for member in batch.members if not member.done.done()]
        if not members:
            return
        self._metrics.batch_rows.observe(sum(len(member.rows) for member in members), model)
        if len(members) > 1:
            joined = Rows.joined([member.rows for member in members])
            try:
                prediction = await batch.call(joined, max(member.deadline for member in members))
            except RpcError as error:
                if error.code not in (Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION):
                    _fail(members, error)
                    return
            else:
                if all(output.ndim > 0 and len(output) == len(joined) for output in prediction.outputs.values()):
                    _share(members, prediction)
                    return
        # Alone: a single member, a batch that one member spoils, or a model whose output does not follow its rows.
        await asyncio.gather(*(_alone(batch.call, member) for member in members))


async def _alone(call: Call, member: _Member) -> None:
    try:
        prediction = await call(member.rows, member.deadline)
    except RpcError as error:
        _fail([member], error)
    else:
        if not member.done.done():
            member.done.set_result(prediction)


def _fail(members: list[_Member], error: RpcError) -> None:
    for member in members:
        if not member.done.done():
            member.done.set_exception(RpcError(error.code, error.message, local=error.local))


def _share(members: list[_Member], prediction: Prediction) -> None:
    at = 0
    for member in members:
        until = at + len(member.rows)
        if not member.done.done():
            outputs = {name: output[at:until] for name, output in prediction.outputs.items()}
            member.done.set_result(Prediction(outputs=outputs, dtypes=prediction.dtypes, version=prediction.version))
        at = until
