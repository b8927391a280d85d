"""Comparison of predictions: under load with those without load, and with expected values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployer.records.endpoint import Value
from deployer.records.files import Batch, Sample


@dataclass(frozen=True, kw_only=True)
class Checker:
    """Compares predictions with those of the reference pass; numbers may differ by the relative `tolerance`."""

    baseline: Sequence[Value]
    tolerance: float = 1e-3

    def mismatch(self, batch: Batch, predictions: Sequence[Value]) -> str:
        """What is wrong with the predictions of a batch; empty if they are correct."""
        if len(predictions) != len(batch.indices):
            return f"{len(predictions)} predictions for {len(batch.indices)} records"
        for index, got in zip(batch.indices, predictions, strict=True):
            if not self._same(self.baseline[index], got):
                return f"record {index}: {got!r:.80}, but {self.baseline[index]!r:.80} without load"
        return ""

    def _same(self, expected: Value, got: Value) -> bool:
        if expected == got:
            return True
        if isinstance(expected, str) or isinstance(got, str):
            return False
        a, b = np.atleast_1d(expected), np.atleast_1d(got)
        return a.shape == b.shape and bool(np.all(np.abs(a - b) <= self.tolerance * (1 + np.abs(a))))


def accuracy(samples: Sequence[Sample], predictions: Sequence[Value]) -> float | None:
    """The share of samples whose prediction is the expected one; None if no sample has an expected value.

    For rows of several numbers, `expected` is the index of the largest one; a row of one number is compared directly.
    """
    judged = [(s.expected, p) for s, p in zip(samples, predictions, strict=True) if s.expected is not None]
    if not judged:
        return None
    return sum(label_of(prediction) == label_of(expected) for expected, prediction in judged) / len(judged)


def label_of(prediction: object) -> str:
    """The class of a prediction or an expected value; of several scores, the index of the highest."""
    if isinstance(prediction, tuple):
        return label_of(prediction[0]) if len(prediction) == 1 else str(int(np.argmax(prediction)))
    if isinstance(prediction, float) and prediction.is_integer():
        return str(int(prediction))
    return str(prediction)
