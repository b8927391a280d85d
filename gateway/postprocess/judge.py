"""Adds calibrated scores and decisions, by the rules of the spec, to the predictions of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import UNSET, UnsetType

from gateway.postprocess import rules
from gateway.postprocess.activation import Array, sigmoid, softmax
from gateway.postprocess.predictions import LabelPrediction, ValuePrediction
from gateway.spec import Binary, Classification, Regression

DECIMALS: Final = 6
"""Scores are rounded to this many decimals: more says nothing about a probability computed in float32."""


def judge_labels(predictions: list[LabelPrediction], scores: Array, output: Classification) -> list[LabelPrediction]:
    """Adds what the rules make of the scores of all labels."""
    if output.calibration is None and output.decision is None:
        return predictions
    finite: Array = np.asarray(np.isfinite(scores).all(axis=1))
    scores = np.where(finite[:, np.newaxis], scores, 0.0)
    if output.activation != "none":
        scores = softmax(scores) if output.activation == "softmax" else sigmoid(scores)
    calibrated = rules.calibrated(scores, output.calibration)
    decisions = rules.by_label(calibrated, output.labels, output.decision) if output.decision is not None else None
    tops = calibrated[np.arange(len(calibrated)), scores.argmax(axis=1)] if output.calibration is not None else None
    return _judged(predictions, finite, tops, decisions)


def judge_scores(predictions: list[LabelPrediction], scores: Array, output: Binary) -> list[LabelPrediction]:
    """Adds what the rules make of the probability of the second label."""
    if output.calibration is None and output.decision is None:
        return predictions
    finite = np.isfinite(scores)
    scores = np.where(finite, scores, 0.0)
    if output.activation == "sigmoid":
        scores = sigmoid(scores)
    calibrated = rules.calibrated(scores, output.calibration)
    tops = np.where(scores >= output.threshold, calibrated, 1 - calibrated)
    decisions = None
    if output.decision is not None:
        decisions = rules.by_score(calibrated, [one.top_prediction for one in predictions], tops, output.decision)
    return _judged(predictions, finite, tops if output.calibration is not None else None, decisions)


def judge_values(predictions: list[ValuePrediction], output: Regression) -> list[ValuePrediction]:
    """Adds the decision from the range of each value."""
    if output.decision is None:
        return predictions
    values = np.array([0.0 if one.value is None else one.value for one in predictions])
    words = rules.by_range(values, output.decision.ranges)
    return [
        ValuePrediction(one.value, None if one.value is None else word)
        for one, word in zip(predictions, words, strict=True)
    ]


def _judged(
    predictions: list[LabelPrediction], finite: Array, tops: Array | None, decisions: Sequence[str | None] | None
) -> list[LabelPrediction]:
    judged = []
    for index, (one, is_finite) in enumerate(zip(predictions, finite.tolist(), strict=True)):
        calibrated: float | UnsetType | None = UNSET
        if tops is not None:
            calibrated = round(float(tops[index]), DECIMALS) if is_finite else None
        decision: str | UnsetType | None = UNSET
        if decisions is not None:
            decision = decisions[index] if is_finite else None
        judged.append(
            LabelPrediction(one.top_prediction, one.confidence, one.score, one.alternatives, calibrated, decision)
        )
    return judged
