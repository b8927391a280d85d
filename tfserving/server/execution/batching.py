"""Merges concurrent requests into one run of the model, with the rules and error texts of TensorFlow Serving.

One queue per version and per pair of input and output tensor sets. Where the real server crashes or hangs (zero rows,
inputs of different rank with padding on) this one runs the request alone or refuses it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tfserving.server import textfiles
from tfserving.server.execution.batch_queue import BatchQueue, QueueSettings, Scheduler
from tfserving.server.execution.servable import NotQuick, Runner
from tfserving.server.metrics import Metrics
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import Code, StatusError, invalid
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import Array, DType

_log = logging.getLogger("tfserving.server")

DEFAULT_MAX_BATCH_SIZE = 1000
DEFAULT_MAX_ENQUEUED_BATCHES = 10
_MOST_PADDED_RANK = 6
PER_MODEL_FILE = "batching_params.pbtxt"
"""Batching parameters of one version, in its directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How the requests of one version are batched."""

    queue: QueueSettings
    allowed_rows: tuple[int, ...]
    pad: bool

    @classmethod
    def of(cls, parameters: m.BatchingParameters) -> BatchSettings:
        """From the file's message. Errors: StatusError INVALID_ARGUMENT for sizes that contradict each other."""
        split = parameters.enable_large_batch_splitting.value
        given = parameters.max_batch_size.value if parameters.HasField("max_batch_size") else None
        rows = DEFAULT_MAX_BATCH_SIZE if given is None else given
        execution = rows
        if split:
            # Without either size the real server starts and then refuses every request; so does this one.
            execution = (
                parameters.max_execution_batch_size.value
                if parameters.HasField("max_execution_batch_size")
                else (given or 0)
            )
        enqueued = (
            parameters.max_enqueued_batches.value
            if parameters.HasField("max_enqueued_batches")
            else DEFAULT_MAX_ENQUEUED_BATCHES
        )
        allowed = tuple(parameters.allowed_batch_sizes)
        _check(rows, execution, parameters.batch_timeout_micros.value, allowed)
        return cls(
            queue=QueueSettings(
                max_task_rows=rows,
                max_execution_rows=execution,
                timeout_seconds=parameters.batch_timeout_micros.value / 1e6,
                max_enqueued_batches=enqueued if split else max(1, enqueued),
                split=split,
            ),
            allowed_rows=allowed,
            pad=parameters.pad_variable_length_inputs,
        )


def _check(rows: int, execution: int, timeout_micros: int, allowed: Sequence[int]) -> None:
    """The first three crash the real server while it loads a model; they are refused here."""
    if rows < 1:
        raise invalid(f"max_batch_size must be positive; was {rows}")
    if timeout_micros < 0:
        raise invalid(f"batch_timeout_micros must not be negative; was {timeout_micros}")
    if execution > rows:
        raise invalid(f"max_execution_batch_size must be at most max_batch_size; was {execution}, limit {rows}")
    if allowed and allowed[-1] != rows:
        raise invalid(
            "Last entry in allowed_batch_sizes must match max_batch_size; "
            f"last entry was {allowed[-1]}; expected {rows}"
        )


@dataclass(frozen=True)
class Batching:
    """Puts a queue in front of every version that is loaded; a `loader.Wrap`.

    `per_model`: the settings come from the version's own file, and a version without one is not batched.
    """

    scheduler: Scheduler
    metrics: Metrics
    parameters: m.BatchingParameters
    per_model: bool

    def __call__(self, path: str, runner: Runner) -> Runner:
        """Wrap the runner of one version. Errors: StatusError for settings that cannot work."""
        parameters = self.parameters
        if self.per_model:
            file = Path(path, PER_MODEL_FILE)
            if not file.exists():
                return runner
            parameters = textfiles.read(str(file), m.BatchingParameters)
        return BatchingRunner(runner, self.scheduler, BatchSettings.of(parameters), self.metrics)


@dataclass(slots=True, eq=False)
class _Task:
    """The request, or a piece of it, of one caller, who waits for `done`."""

    feeds: Mapping[str, Tensor]
    rows: int
    deadline: float | None
    enqueued: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    pieces: Sequence[_Task] = ()
    outputs: dict[str, Tensor] | None = None
    error: StatusError | None = None

    def wait(self) -> dict[str, Tensor]:
        if self.pieces:
            parts = [piece.wait() for piece in self.pieces]
            return {name: _concatenate([part[name] for part in parts]) for name in parts[0]}
        self.done.wait()
        if self.error:
            raise StatusError(self.error.code, self.error.message)
        assert self.outputs is not None
        return self.outputs


class BatchingRunner:
    """A `Runner` that merges what arrives at the same time."""

    def __init__(self, runner: Runner, scheduler: Scheduler, settings: BatchSettings, metrics: Metrics) -> None:
        self._runner, self._scheduler, self._settings, self._metrics = runner, scheduler, settings, metrics
        self._lock = threading.Lock()
        self._queues: dict[tuple[frozenset[str], frozenset[str]], BatchQueue[_Task]] = {}

    def run(
        self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_ms: int, *, only_if_quick: bool = False
    ) -> list[Tensor]:
        """See `Runner.run`; blocks until the batch with this request has run, so it is never quick."""
        if only_if_quick:
            raise NotQuick
        rows = _rows(feeds)
        for _ in feeds:
            self._metrics.input_batch_size.observe(rows)
        if rows == 0:
            return self._runner.run(feeds, fetches, timeout_ms)
        deadline = time.monotonic() + timeout_ms / 1000 if timeout_ms > 0 else None
        task = _Task(feeds, rows, deadline)
        self._queue(feeds, fetches).submit(task, _split)
        outputs = task.wait()
        return [outputs[name] for name in fetches]

    def close(self) -> None:
        """Give up the queues; they are empty when no request holds the version."""
        with self._lock:
            for queue in self._queues.values():
                self._scheduler.remove(queue)
            self._queues.clear()
        self._runner.close()

    def _queue(self, feeds: Mapping[str, Tensor], fetches: Sequence[str]) -> BatchQueue[_Task]:
        key = (frozenset(feeds), frozenset(fetches))
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                queue = BatchQueue(self._scheduler, self._settings.queue, self._process(sorted(key[1])))
                self._queues[key] = queue
                self._scheduler.add(queue)
            return queue

    def _process(self, fetches: Sequence[str]) -> Callable[[Sequence[_Task]], None]:
        def process(tasks: Sequence[_Task]) -> None:
            failure: StatusError | None = None
            results: list[dict[str, Tensor]] = []
            try:
                results = self._run_batch(tasks, fetches)
            except StatusError as error:
                failure = error
            except Exception as error:  # a bug must fail these requests and not the thread that serves all models
                _log.exception("A batch failed")
                failure = StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}")
            for number, task in enumerate(tasks):
                task.error = failure
                task.outputs = None if failure else results[number]
                task.done.set()

        return process

    def _run_batch(self, tasks: Sequence[_Task], fetches: Sequence[str]) -> list[dict[str, Tensor]]:
        now = time.monotonic()
        for task in tasks:
            self._metrics.queuing_latency.observe((now - task.enqueued) * 1e6, "")
        timeout_ms = _remaining_ms(tasks, now)
        rows = sum(task.rows for task in tasks)
        padded = next((size for size in self._settings.allowed_rows if size >= rows), rows)
        self._metrics.padding_size.observe(padded - rows, str(padded))
        self._metrics.processed_batch_size.observe(padded)
        merged = {name: self._merge(name, [task.feeds[name] for task in tasks], padded) for name in tasks[0].feeds}
        try:
            values = self._runner.run(merged, fetches, timeout_ms)
        finally:
            self._metrics.wrapped_run_count.add(1)
        for value in values:
            if value.deep:
                raise _too_deep()
            if not value.array.ndim:
                raise StatusError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
            if len(value.array) != padded:
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                    "input tensors",
                )
        return _cut(dict(zip(fetches, values, strict=True)), [task.rows for task in tasks])

    def _merge(self, name: str, tensors: Sequence[Tensor], rows: int) -> Tensor:
        """One tensor of `rows` rows: all tasks, then copies of the last task's first row."""
        if self._settings.pad and any(tensor.array.ndim > _MOST_PADDED_RANK for tensor in tensors):
            raise invalid(f"Only tensors with rank from 1 to {_MOST_PADDED_RANK} can be padded.")
        if len({tensor.array.shape[1:] for tensor in tensors}) > 1:
            if not self._settings.pad:
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    f"Tensors with name '{name}' from different tasks have different shapes and padding is turned "
                    "off. Set pad_variable_length_inputs to true, or ensure that all tensors with the same name have "
                    "equal dimensions starting with the first dim.",
                )
            tensors = _pad(name, tensors)
        for tensor in tensors:
            if tensor.dtype is not tensors[0].dtype:
                raise StatusError(
                    Code.INTERNAL,
                    "Tensor concat operation failed: INVALID_ARGUMENT: Cannot concatenate tensors that have different "
                    f"data types. Got {tensors[0].dtype.name} and {tensor.dtype.name}.",
                )
        missing = rows - sum(len(tensor.array) for tensor in tensors)
        if missing:
            last = tensors[-1]
            tensors = [*tensors, Tensor(last.dtype, np.repeat(last.array[:1], missing, axis=0))]
        return _concatenate(tensors)


def _rows(feeds: Mapping[str, Tensor]) -> int:
    if not feeds:
        raise invalid("Batching Run() must have at least one input tensor")
    rows = None
    for tensor in feeds.values():
        if tensor.deep:
            raise _too_deep()
        if not tensor.array.ndim:
            raise invalid("Batching Run() input tensors must have at least one dimension")
        if rows not in (None, len(tensor.array)):
            raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
        rows = len(tensor.array)
    assert rows is not None
    return rows


def _split(task: _Task, sizes: Sequence[int]) -> Sequence[_Task]:
    task.pieces = [
        _Task(feeds, size, task.deadline) for feeds, size in zip(_cut(task.feeds, sizes), sizes, strict=True)
    ]
    return task.pieces


def _cut(tensors: Mapping[str, Tensor], sizes: Sequence[int]) -> list[dict[str, Tensor]]:
    parts, start = [], 0
    for size in sizes:
        parts.append({n: Tensor(t.dtype, t.array[start : start + size]) for n, t in tensors.items()})
        start += size
    return parts


def _concatenate(tensors: Sequence[Tensor]) -> Tensor:
    if len(tensors) == 1:
        return tensors[0]
    return Tensor(tensors[0].dtype, np.concatenate([tensor.array for tensor in tensors]))


def _remaining_ms(tasks: Sequence[_Task], now: float) -> int:
    """Limit of the batch's run: the latest deadline of its members, 0 when one has none.

    Errors: StatusError RESOURCE_EXHAUSTED when all deadlines have passed.
    """
    deadlines = [task.deadline for task in tasks if task.deadline is not None]
    if len(deadlines) < len(tasks):
        return 0
    left = max(deadlines) - now
    if left <= 0:
        raise StatusError(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
    return max(1, int(left * 1000))


def _pad(name: str, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Bring all dimensions but the first to the largest of the batch, with the first element of each tensor."""
    if len({tensor.array.ndim for tensor in tensors}) > 1:
        raise StatusError(
            Code.FAILED_PRECONDITION,
            f"Tensors with name '{name}' from different tasks have different numbers of dimensions; padding cannot "
            "make them equal.",
        )
    shape = np.max([tensor.array.shape[1:] for tensor in tensors], axis=0)
    return [Tensor(tensor.dtype, _padded(tensor.array, tensor.dtype, tuple(shape))) for tensor in tensors]


def _padded(array: Array, dtype: DType, shape: tuple[int, ...]) -> Array:
    if not array.size and len(array) and all(shape):
        raise invalid("Got empty tensor in batch of non-empty tensors.")
    if not array.size:
        return array.reshape((len(array), *shape))
    out = np.full((len(array), *shape), array.ravel()[0], dtype.storage)
    out[tuple(slice(size) for size in array.shape)] = array
    return out


def _too_deep() -> StatusError:
    return StatusError(Code.UNIMPLEMENTED, "tensors with so many dimensions are not batched here")
