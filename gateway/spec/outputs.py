"""How the output tensor of a version is read, one struct per kind of response."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from gateway.spec.base import Name, Package, Positive, Section, finite, ordered, unique
from gateway.spec.rules import Calibration, LabelRules, ScoreRules, ValueRules


class Confidence(Section, frozen=True, kw_only=True):
    """Score from which a response is called `high` or `medium`; below it is `low`."""

    high: Annotated[float, Meta(gt=0, le=1)] = 0.8
    medium: Annotated[float, Meta(gt=0, le=1)] = 0.5

    def __post_init__(self) -> None:
        ordered("medium", self.medium, "high", self.high)


class _Output(Section, frozen=True, kw_only=True, tag_field="kind"):
    """The output tensor of the signature that is the response."""

    name: Name


class Classification(_Output, frozen=True, kw_only=True, tag="classification"):
    """One score per label. `activation` is what the gateway still has to apply: `none` when the model did it.

    `top_k` bounds `alternatives`; 5, or the number of labels where that is smaller, when left out.
    """

    labels: Annotated[list[str], Meta(min_length=2)]
    activation: Literal["softmax", "sigmoid", "none"] = "none"
    confidence: Confidence = Confidence()
    top_k: Positive | None = None
    calibration: Calibration | None = None
    decision: LabelRules | None = None

    def __post_init__(self) -> None:
        unique(self.labels, "labels")
        if self.decision is not None:
            self.decision.check(self.labels)
        if self.top_k is not None and self.top_k > len(self.labels):
            raise ValueError(f"top_k {self.top_k} is more than the {len(self.labels)} labels")


class Binary(_Output, frozen=True, kw_only=True, tag="binary"):
    """One number per record: the probability of the second label, which is the response from `threshold` on."""

    labels: Annotated[list[str], Meta(min_length=2, max_length=2)]
    activation: Literal["sigmoid", "none"] = "none"
    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    confidence: Confidence = Confidence()
    calibration: Calibration | None = None
    decision: ScoreRules | None = None

    def __post_init__(self) -> None:
        unique(self.labels, "labels")


class Regression(_Output, frozen=True, kw_only=True, tag="regression"):
    """One number per record; answer = output * scale + offset, back in the unit of the target."""

    scale: float = 1.0
    offset: float = 0.0
    decision: ValueRules | None = None

    def __post_init__(self) -> None:
        finite(scale=self.scale, offset=self.offset)
        if self.scale == 0:
            raise ValueError("scale 0 would make every response the same")


class Raw(_Output, frozen=True, kw_only=True, tag="raw"):
    """The row of the output tensor as it is."""


class CodeOutput(_Output, frozen=True, kw_only=True, tag="code"):
    """What the interpreter of an installed package makes of the outputs.

    `package` is NAME==VERSION: what the spec was made with, and what the image must have. `options` go to the function.
    """

    entry: Name
    package: Package
    options: dict[str, str | float | bool | None] | None = None


Output = Classification | Binary | Regression | Raw | CodeOutput
