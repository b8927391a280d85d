"""Whether an answer under load is the answer without load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployer.records.endpoint import Value
from deployer.records.files import Batch, Sample


@dataclass(frozen=True, kw_only=True)
class Checker:
    """Compares predictions with those of the reference pass; numbers may differ by `tolerance` of their size."""

    baseline: Sequence[Value]
    tolerance: float = 1e-3

    def wrong(self, batch: Batch, predictions: Sequence[Value]) -> str:
        """What is wrong with the answer to a batch; empty when nothing is."""
        if len(predictions) != len(batch.indices):
            return f"{len(predictions)} predictions for {len(batch.indices)} records"
        for index, got in zip(batch.indices, predictions, strict=True):
            if not self._same(self.baseline[index], got):
                return f"record {index}: {got!r:.80}, but {self.baseline[index]!r:.80} without load"
        return ""

    def _same(self, right: Value, got: Value) -> bool:
        if right == got:
            return True
        if isinstance(right, str) or isinstance(got, str):
            return False
        a, b = np.atleast_1d(right), np.atleast_1d(got)
        return a.shape == b.shape and bool(np.all(np.abs(a - b) <= self.tolerance * (1 + np.abs(a))))


def accuracy(samples: Sequence[Sample], predictions: Sequence[Value]) -> float | None:
    """The share of samples whose expected prediction was given; None when no sample says what it expects.

    Rows of several numbers count by the index of the largest, which is what `expected` names then; a row of one is it.
    """
    judged = [(s.expected, p) for s, p in zip(samples, predictions, strict=True) if s.expected is not None]
    if not judged:
        return None
    return sum(_label(prediction) == _label(expected) for expected, prediction in judged) / len(judged)


def _label(prediction: object) -> str:
    if isinstance(prediction, tuple):
        return _label(prediction[0]) if len(prediction) == 1 else str(int(np.argmax(prediction)))
    if isinstance(prediction, float) and prediction.is_integer():
        return str(int(prediction))
    return str(prediction)
