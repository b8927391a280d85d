"""Requests mirrored to another label: answered by nobody, compared with what the client was told.

A mirrored request is made after the response has left, at most `MIRRORED_MAX` at a time; more are dropped and
counted. Each record counts once, as agreed, disagreed or failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from gateway.active import Model
from gateway.backends.rpc import RpcError
from gateway.errors import GatewayError
from gateway.observe.metrics import Metrics
from gateway.observe.trace import Trace
from gateway.postprocess.predictions import LabelPrediction, RowPrediction, ValuePrediction
from gateway.routing.labels import Choice

MIRRORED_MAX: Final = 16
TOLERANCE: Final = 0.05
"""Two values of a regression agree when they differ by no more than this share of the larger one."""


class Predict(Protocol):
    """How records are predicted. Errors: GatewayError, RpcError."""

    async def __call__(
        self, model: Model, choice: Choice, records: Sequence[Mapping[str, object]], deadline: float, trace: Trace
    ) -> Answered: ...


class Answered(Protocol):
    """What comes of it."""

    @property
    def predictions(self) -> Sequence[object]: ...


class Shadow:
    """Mirrors record requests of one gateway."""

    def __init__(self, predict: Predict, metrics: Metrics) -> None:
        self._predict = predict
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()

    def mirror(
        self, model: Model, label: str, records: Sequence[Mapping[str, object]], given: Sequence[object], seconds: float
    ) -> None:
        """Ask `label` about the same records, for at most `seconds`, and compare with what the client was `given`."""
        if len(self._tasks) >= MIRRORED_MAX:
            self._metrics.shadow.add(model.name, label, "dropped", amount=len(records))
            return
        task = asyncio.create_task(self._compare(model, label, records, given, seconds), name="mirror")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _compare(
        self, model: Model, label: str, records: Sequence[Mapping[str, object]], given: Sequence[object], seconds: float
    ) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            answer = await self._predict(model, Choice(label=label), records, deadline, Trace())
        except (GatewayError, RpcError):
            self._metrics.shadow.add(model.name, label, "failed", amount=len(records))
            return
        same = sum(agree(mine, theirs) for mine, theirs in zip(given, answer.predictions, strict=True))
        self._metrics.shadow.add(model.name, label, "agreed", amount=same)
        self._metrics.shadow.add(model.name, label, "disagreed", amount=len(records) - same)


def agree(one: object, other: object) -> bool:
    """Whether two predictions of one record say the same: top label and decision, nearly the same value, equal rows."""
    if isinstance(one, LabelPrediction) and isinstance(other, LabelPrediction):
        return one.top_prediction == other.top_prediction and one.decision == other.decision
    if isinstance(one, ValuePrediction) and isinstance(other, ValuePrediction):
        if one.value is None or other.value is None:
            return one.value is other.value
        return abs(one.value - other.value) <= TOLERANCE * max(abs(one.value), abs(other.value))
    if isinstance(one, RowPrediction) and isinstance(other, RowPrediction):
        return bool(one.values == other.values)
    return False
