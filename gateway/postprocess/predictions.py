"""What a client reads of one record."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType


class Alternative(Struct, frozen=True):
    """One label and its score."""

    label: str
    score: float


class LabelPrediction(Struct, frozen=True):
    """A classification or a binary response. When the model gave NaN or Infinity all is null and `alternatives` empty.

    `calibrated` is the calibrated score of `top_prediction`, `decision` what the rules of the spec made of all this;
    both are there where the spec has such rules.
    """

    top_prediction: str | None
    confidence: Literal["high", "medium", "low"] | None
    score: float | None
    alternatives: list[Alternative]
    calibrated: float | UnsetType | None = UNSET
    decision: str | UnsetType | None = UNSET


class ValuePrediction(Struct, frozen=True):
    """A regression's response in the unit of the target; null when the model gave NaN or Infinity.

    `decision` is what the rules of the spec made of it, where it has some.
    """

    value: float | None
    decision: str | UnsetType | None = UNSET


class RowPrediction(Struct, frozen=True):
    """The row of a raw output; numbers that JSON does not have are null, bytes that are no text are {"b64": …}."""

    values: Any


Prediction = LabelPrediction | ValuePrediction | RowPrediction
