"""What is counted of a prediction: its score and label, or its value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.postprocess.predictions import LabelPrediction, ValuePrediction
from gateway.spec import Binary, Classification, CodeOutput, Output, Raw, Regression

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """One number per prediction (NaN: the model gave none), or how often each word came."""

    numbers: Array | None = None
    words: Mapping[str | None, int] | None = None


def scores(predictions: Sequence[object], output: Output) -> dict[str, Values]:
    """By name: `score` and `label` of labels, `value` of a regression; nothing of raw outputs.

    The score of a binary answer is that of its second label; of a classification, that of the chosen label.
    """
    match output:
        case Binary():
            said = [one for one in predictions if isinstance(one, LabelPrediction)]
            positive = output.labels[1]
            found = [_of_label(one, positive) for one in said]
            return {"score": Values(numbers=np.array(found, dtype=np.float64)), "label": _labels(said)}
        case Classification():
            said = [one for one in predictions if isinstance(one, LabelPrediction)]
            return {
                "score": Values(numbers=np.array([one.score for one in said], dtype=np.float64)),
                "label": _labels(said),
            }
        case Regression():
            values = [one.value for one in predictions if isinstance(one, ValuePrediction)]
            return {"value": Values(numbers=np.array(values, dtype=np.float64))}
        case Raw() | CodeOutput():
            return {}


def _of_label(prediction: LabelPrediction, label: str) -> float | None:
    return next((one.score for one in prediction.alternatives if one.label == label), None)


def _labels(predictions: Sequence[LabelPrediction]) -> Values:
    return Values(words=Counter(one.top_prediction for one in predictions))
