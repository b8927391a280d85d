"""What is decided from what the model said: calibrated scores, thresholds, ranges, abstaining."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from msgspec import Meta

from gateway.spec.base import Name, Section, finite, ordered

Share = Annotated[float, Meta(ge=0, le=1)]


class Platt(Section, frozen=True, kw_only=True):
    """1 / (1 + exp(-(slope * score + intercept))): a logistic curve over the score."""

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        finite(slope=self.slope, intercept=self.intercept)


class Isotonic(Section, frozen=True, kw_only=True):
    """A table of scores and the probabilities that were observed there: linear between them, constant outside."""

    scores: Annotated[list[float], Meta(min_length=2, max_length=10_000)]
    probabilities: list[Share]

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.probabilities):
            raise ValueError(
                f"{len(self.scores)} scores, {len(self.probabilities)} probabilities; give as many of both"
            )
        for low, high in pairwise(self.scores):
            ordered("scores:", low, "the next one,", high, strict=True)
        for low, high in pairwise(self.probabilities):
            ordered("probabilities:", low, "the next one,", high)


class Calibration(Section, frozen=True, kw_only=True):
    """How a score becomes a probability: one of the two."""

    platt: Platt | None = None
    isotonic: Isotonic | None = None

    def __post_init__(self) -> None:
        if (self.platt is None) == (self.isotonic is None):
            raise ValueError("calibration needs exactly one of platt and isotonic")


class Range(Section, frozen=True, kw_only=True):
    """Scores below `below`, and not below the range before, are decided so; the last range has no `below`."""

    decision: Name
    below: float | None = None


Ranges = Annotated[list[Range], Meta(min_length=1, max_length=100)]


class Abstain(Section, frozen=True, kw_only=True):
    """Answers whose score is below `below` are decided so, whatever the label."""

    below: Annotated[float, Meta(gt=0, le=1)]
    decision: Name


class LabelRules(Section, frozen=True, kw_only=True):
    """`thresholds` is the score that a label needs to be decided; the best label that has it is. Then `abstain`."""

    thresholds: dict[Name, Share] | None = None
    abstain: Abstain | None = None

    def check(self, labels: list[str]) -> None:
        """Errors: ValueError for a threshold of a label that there is not."""
        for label in self.thresholds or ():
            if label not in labels:
                raise ValueError(f"decision.thresholds: '{label}' is not among the labels {', '.join(labels[:10])}")


class ScoreRules(Section, frozen=True, kw_only=True):
    """`ranges` of the probability of the second label, in rising order; without them the label is decided."""

    ranges: Ranges | None = None
    abstain: Abstain | None = None

    def __post_init__(self) -> None:
        check_ranges(self.ranges or [])


class ValueRules(Section, frozen=True, kw_only=True):
    """`ranges` of the value, in the unit of the target and in rising order."""

    ranges: Ranges

    def __post_init__(self) -> None:
        check_ranges(self.ranges)


def check_ranges(ranges: list[Range]) -> None:
    """Errors: ValueError for ranges that do not rise, or do not cover everything."""
    for index, one in enumerate(ranges):
        if (one.below is None) != (index == len(ranges) - 1):
            raise ValueError("ranges: every range but the last has below, and the last one has not")
    for one, other in pairwise(ranges[:-1]):
        ordered("ranges: below", one.below, "the next one,", other.below, strict=True)
