"""Queues of batches that share a set of threads: TensorFlow Serving's scheduler, without tensors.

A queue holds closed batches and, last, an open one that still takes tasks. A thread takes the oldest closed batch, or
the open one when it is full or has waited long enough; queues take turns.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from tfserving.wire.status import Code, StatusError, invalid


class Sized(Protocol):
    """A task: something with a number of rows, at least one."""

    @property
    def rows(self) -> int:
        """Rows that it adds to a batch."""
        ...


Task = TypeVar("Task", bound=Sized)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """`max_execution_rows` differs from `max_task_rows` only when tasks may be split."""

    max_task_rows: int
    max_execution_rows: int
    timeout_seconds: float
    max_enqueued_batches: int
    split: bool


@dataclass(slots=True)
class _Batch(Generic[Task]):
    tasks: list[Task] = field(default_factory=list)
    rows: int = 0
    opened: float = 0.0


class BatchQueue(Generic[Task]):
    """One queue of a scheduler. `process` gets the tasks of one batch, in a thread of the scheduler."""

    def __init__(
        self, scheduler: Scheduler, settings: QueueSettings, process: Callable[[Sequence[Task]], None]
    ) -> None:
        self._scheduler, self._settings, self.process = scheduler, settings, process
        self._batches: deque[_Batch[Task]] = deque([_Batch()])

    def submit(self, task: Task, split: Callable[[Task, Sequence[int]], Sequence[Task]]) -> None:
        """Enqueue a task. `split` cuts it into pieces of the given numbers of rows where that is allowed.

        Errors: StatusError INVALID_ARGUMENT for a task that is too large, UNAVAILABLE when the queue is full.
        """
        with self._scheduler.changed:
            if task.rows > self._settings.max_task_rows:
                raise invalid(
                    f"Task size {task.rows} is larger than maximum input batch size {self._settings.max_task_rows}"
                )
            for piece in self._pieces(task, split) if self._settings.split else [task]:
                self._add(piece)
            self._scheduler.changed.notify()

    def _add(self, task: Task) -> None:
        settings, batch = self._settings, self._batches[-1]
        if batch.rows + task.rows > settings.max_execution_rows:
            if len(self._batches) >= settings.max_enqueued_batches:
                raise _full(
                    f"currently {len(self._batches)} batches enqueued and max_enqueued_batches is "
                    f"{settings.max_enqueued_batches}"
                )
            batch = _Batch()
            self._batches.append(batch)
        if not batch.tasks:
            batch.opened = time.monotonic()
        batch.tasks.append(task)
        batch.rows += task.rows

    def _pieces(self, task: Task, split: Callable[[Task, Sequence[int]], Sequence[Task]]) -> Sequence[Task]:
        settings, opened = self._settings, self._batches[-1].rows
        room = settings.max_execution_rows - opened
        capacity = (settings.max_enqueued_batches - len(self._batches)) * settings.max_execution_rows + room
        if task.rows > capacity:
            raise _full(
                f"task size is {task.rows} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={len(self._batches)}, max_enqueued_batches={settings.max_enqueued_batches}, "
                f"open_batch_size={opened}, max_execution_batch_size={settings.max_execution_rows})"
            )
        sizes = [min(room, task.rows)] if room else []
        while (left := task.rows - sum(sizes)) > 0:
            sizes.append(min(left, settings.max_execution_rows))
        return split(task, sizes) if len(sizes) > 1 else [task]

    def ready_in(self, now: float) -> float | None:
        """Seconds until a batch may be taken, 0 or less for now, None when nothing is queued. Under the lock."""
        first = self._batches[0]
        if len(self._batches) > 1 or (first.tasks and first.rows >= self._settings.max_execution_rows):
            return 0.0
        return first.opened + self._settings.timeout_seconds - now if first.tasks else None

    def take(self) -> list[Task]:
        """The tasks of the oldest batch. Under the lock, and only after `ready_in` said now."""
        batch = self._batches.popleft()
        if not self._batches:
            self._batches.append(_Batch())
        return batch.tasks


class Scheduler:
    """A fixed number of threads that process the batches of all queues of a server."""

    def __init__(self, threads: int) -> None:
        self.changed = threading.Condition()
        self._queues: deque[BatchQueue[Sized]] = deque()
        for number in range(threads):
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True).start()

    def add(self, queue: BatchQueue[Task]) -> None:
        """Serve one more queue."""
        with self.changed:
            self._queues.append(queue)  # type: ignore[arg-type]

    def remove(self, queue: BatchQueue[Task]) -> None:
        """Forget a queue; it must be empty."""
        with self.changed:
            self._queues.remove(queue)  # type: ignore[arg-type]

    def _work(self) -> None:
        while True:
            queue, tasks = self._next()
            queue.process(tasks)

    def _next(self) -> tuple[BatchQueue[Sized], list[Sized]]:
        with self.changed:
            while True:
                now = time.monotonic()
                soonest: float | None = None
                for queue in self._queues:
                    wait = queue.ready_in(now)
                    if wait is not None and wait <= 0:
                        self._queues.remove(queue)
                        self._queues.append(queue)
                        return queue, queue.take()
                    if wait is not None and (soonest is None or wait < soonest):
                        soonest = wait
                self.changed.wait(soonest)


def _full(detail: str) -> StatusError:
    return StatusError(
        Code.UNAVAILABLE, f"The batch scheduling queue to which this task was submitted is full; {detail}"
    )
