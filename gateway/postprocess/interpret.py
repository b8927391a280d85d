"""The output tensor of a version, read as responses: labels with scores, values, or rows as they are."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.postprocess.activation import sigmoid, softmax
from gateway.postprocess.judge import DECIMALS, judge_labels, judge_scores, judge_values
from gateway.postprocess.predictions import Alternative, LabelPrediction, Prediction, RowPrediction, ValuePrediction
from gateway.spec import Binary, Classification, CodeOutput, Confidence, Output, Raw, Regression, SpecProblem
from gateway.spec.installed import made

Array = NDArray[Any]

TOP_K = 5
"""Alternatives of a classification whose spec names no `top_k`."""


SMALL = 128
"""Scores up to which plain arithmetic is faster than numpy."""

Code = Callable[[Mapping[str, Array]], Sequence[object]]
"""An interpreter: from the outputs of the model, each with one row per record, to one value per record."""

Ranked = tuple[list[int], list[float]]
"""Indices of the best labels and their scores; both empty for a row that is not finite."""


class OutputProblem(ValueError):
    """An output that does not fit the spec: the model's fault or the spec's, never the client's."""


_UNDECIDED = LabelPrediction(None, None, None, [])


class Interpreter:
    """Reads the outputs of one version by its spec."""

    def __init__(self, output: Output) -> None:
        """Errors: SpecProblem for an interpreter that the image does not have."""
        self._output = output
        self._code: Code | None = None
        if isinstance(output, CodeOutput):
            try:
                self._code = made("interpreter", output.entry, output.package, output.options)
            except SpecProblem as error:
                raise SpecProblem("output", error.what) from error

    def interpret(self, outputs: Mapping[str, Array]) -> Sequence[Prediction]:
        """One prediction per row of the output tensor.

        Errors: OutputProblem when the tensor is absent, or not of the type and shape that the kind of response reads.
        """
        output = self._output
        tensor = outputs.get(output.name)
        if tensor is None:
            raise OutputProblem(f"output '{output.name}' is absent, the model gave {', '.join(sorted(outputs))}")
        match output:
            case Classification():
                scores = _scores(tensor, output.name, len(output.labels))
                return judge_labels(classify(scores, output), scores, output)
            case Binary():
                scores = _one_per_record(tensor, output.name)
                return judge_scores(decide(scores, output), scores, output)
            case Regression():
                return judge_values(regress(_one_per_record(tensor, output.name), output), output)
            case Raw():
                return rows(tensor, output.name)
            case CodeOutput():
                return self._by_code(outputs, len(tensor), output)

    def _by_code(self, outputs: Mapping[str, Array], count: int, output: CodeOutput) -> list[RowPrediction]:
        assert self._code is not None
        values = list(self._code(outputs))
        if len(values) != count:
            raise OutputProblem(f"interpreter '{output.entry}' gave {len(values)} values for {count} records")
        try:
            return [RowPrediction(_json(msgspec.to_builtins(value, enc_hook=_plain))) for value in values]
        except (TypeError, ValueError) as error:
            raise OutputProblem(f"interpreter '{output.entry}' gave what JSON does not have: {error}") from error


def classify(scores: Array, output: Classification) -> list[LabelPrediction]:
    """Records x labels scores as responses; equal scores stay in the order of the labels."""
    count = output.top_k or min(TOP_K, len(output.labels))
    if scores.size <= SMALL:
        ranked = [_rank(row, output.activation, count) for row in scores.tolist()]
    else:
        ranked = _rank_all(scores, output.activation, count)
    labels = output.labels
    return [
        _labelled([labels[index] for index in indices], top, output.confidence) if indices else _UNDECIDED
        for indices, top in ranked
    ]


def _rank_all(scores: Array, activation: str, count: int) -> list[Ranked]:
    finite: Array = np.asarray(np.isfinite(scores).all(axis=1))
    scores = np.where(finite[:, np.newaxis], scores, 0.0)
    if activation == "softmax":
        scores = softmax(scores)
    elif activation == "sigmoid":
        scores = sigmoid(scores)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    best = scores[np.arange(len(scores))[:, np.newaxis], order]
    return [
        (indices, top) if sound else ([], [])
        for indices, top, sound in zip(order.tolist(), best.tolist(), finite.tolist(), strict=True)
    ]


def _rank(row: list[float], activation: str, count: int) -> Ranked:
    """`_rank_all` for one row: a dozen numpy calls cost more than the arithmetic on a few numbers."""
    if not all(map(math.isfinite, row)):
        return [], []
    if activation == "softmax":
        most = max(row)
        powers = [math.exp(score - most) for score in row]
        total = sum(powers)
        row = [power / total for power in powers]
    elif activation == "sigmoid":
        row = [0.5 * (1 + math.tanh(0.5 * score)) for score in row]
    order = sorted(range(len(row)), key=row.__getitem__, reverse=True)[:count]
    return order, [row[index] for index in order]


def decide(scores: Array, output: Binary) -> list[LabelPrediction]:
    """One number per record as responses: the second label from the threshold on, with the score of that label."""
    finite = np.isfinite(scores)
    scores = np.where(finite, scores, 0.0)
    if output.activation == "sigmoid":
        scores = sigmoid(scores)
    negative, positive = output.labels
    predictions = []
    for probability, sound in zip(scores.tolist(), finite.tolist(), strict=True):
        if not sound:
            predictions.append(_UNDECIDED)
        elif probability >= output.threshold:
            predictions.append(_labelled([positive, negative], [probability, 1 - probability], output.confidence))
        else:
            predictions.append(_labelled([negative, positive], [1 - probability, probability], output.confidence))
    return predictions


def regress(values: Array, output: Regression) -> list[ValuePrediction]:
    """output * scale + offset of one number per record."""
    if values.size <= SMALL:
        scaled = [value * output.scale + output.offset for value in values.tolist()]
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite afterwards is null
            scaled = (values * output.scale + output.offset).tolist()
    return [ValuePrediction(value if math.isfinite(value) else None) for value in scaled]


def rows(tensor: Array, name: str) -> list[RowPrediction]:
    """Every row as nested lists that JSON can carry."""
    if tensor.ndim == 0 or tensor.dtype.kind not in "biufO":
        raise OutputProblem(f"output '{name}' is {tensor.dtype} {list(tensor.shape)}, which has no rows for JSON")
    plain = tensor.dtype.kind in "biu" or (tensor.dtype.kind == "f" and bool(np.isfinite(tensor).all()))
    return [RowPrediction(row if plain else _json(row)) for row in tensor.tolist()]


def passed_through(outputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, list[object]]:
    """The rows of the outputs that a spec passes through. Errors: OutputProblem for one that is absent or has none."""
    for name in names:
        if name not in outputs:
            raise OutputProblem(f"output '{name}' is absent, the model gave {', '.join(sorted(outputs))}")
    return {name: [row.values for row in rows(outputs[name], name)] for name in names}


def confidence_of(score: float, thresholds: Confidence) -> Literal["high", "medium", "low"]:
    """The word for a score; the thresholds belong to the higher word."""
    if score >= thresholds.high:
        return "high"
    return "medium" if score >= thresholds.medium else "low"


def _labelled(labels: Sequence[str], scores: Sequence[float], thresholds: Confidence) -> LabelPrediction:
    alternatives = [Alternative(label, round(score, DECIMALS)) for label, score in zip(labels, scores, strict=True)]
    return LabelPrediction(labels[0], confidence_of(scores[0], thresholds), alternatives[0].score, alternatives)


def _scores(tensor: Array, name: str, labels: int) -> Array:
    if tensor.dtype.kind != "f" or tensor.ndim != 2 or tensor.shape[1] != labels:
        raise OutputProblem(
            f"output '{name}' is {tensor.dtype} {list(tensor.shape)}, the spec reads float scores for {labels} labels"
        )
    return tensor.astype(np.float64)


def _one_per_record(tensor: Array, name: str) -> Array:
    if tensor.dtype.kind != "f" or tensor.ndim not in (1, 2) or tensor.shape[1:] not in ((), (1,)):
        raise OutputProblem(
            f"output '{name}' is {tensor.dtype} {list(tensor.shape)}, the spec reads one float per record"
        )
    return tensor.reshape(-1).astype(np.float64)


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a value of type {type(value).__name__}")


def _json(value: object) -> object:
    match value:
        case list():
            return [_json(element) for element in value]
        case dict():
            return {str(key): _json(element) for key, element in value.items()}
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return {"b64": b64encode(value).decode()}
        case _:
            return value
