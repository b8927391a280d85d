"""What training saw of each feature and of the scores: the bins into which the gateway counts live records."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
import yaml
from msgspec import Meta

from gateway.spec.base import Name, Section
from gateway.spec.reading.text import load

Count = Annotated[int, Meta(ge=0)]
BINS_MAX = 64
"""Bins of one distribution: each is a series of the metrics per version and label."""


class Distribution(Section, frozen=True, kw_only=True):
    """How often training saw each value of one feature or score.

    Numbers have `edges`: bin i holds values from edge i-1 to below edge i. Text has `words`: one bin each, and a last
    one for all others. `counts` has one element more than either. `missing` counts records without a value, and
    `unknown` words that are not in the vocabulary of the feature; neither is among `counts`.
    """

    name: Name
    edges: Annotated[list[float], Meta(max_length=BINS_MAX - 1)] | None = None
    words: Annotated[list[str], Meta(max_length=BINS_MAX - 1)] | None = None
    counts: Annotated[list[Count], Meta(min_length=1, max_length=BINS_MAX)]
    missing: Count = 0
    unknown: Count = 0

    def __post_init__(self) -> None:
        who = f"distribution '{self.name}'"
        bounds = self.edges if self.edges is not None else self.words
        if bounds is None or (self.edges is not None and self.words is not None):
            raise ValueError(f"{who}: exactly one of edges and words is needed")
        if len(self.counts) != len(bounds) + 1:
            raise ValueError(f"{who}: {len(bounds)} bounds need {len(bounds) + 1} counts, not {len(self.counts)}")
        if self.edges is not None:
            rising = all(low < high for low, high in zip(self.edges, self.edges[1:], strict=False))
            if not rising or not all(map(math.isfinite, self.edges)):
                raise ValueError(f"{who}: edges must be finite and rise")
        if self.words is not None and len(set(self.words)) < len(self.words):
            raise ValueError(f"{who}: words must be unique")

    @property
    def total(self) -> int:
        """Records that training saw, those without a value among them."""
        return sum(self.counts) + self.missing + self.unknown

    @property
    def bins(self) -> list[str]:
        """Names of the bins as the metrics have them: numbers from 0, then `missing` and `unknown`."""
        return [*map(str, range(len(self.counts))), "missing", "unknown"]

    @property
    def all_counts(self) -> list[int]:
        """The counts of `bins`."""
        return [*self.counts, self.missing, self.unknown]

    def told(self, bin_: int) -> str:
        """What is in a bin, for people."""
        if bin_ >= len(self.counts):
            return ("missing", "unknown")[bin_ - len(self.counts)]
        if self.words is not None:
            return self.words[bin_] if bin_ < len(self.words) else "other"
        edges = self.edges or []
        if not edges:
            return "any"
        if bin_ == 0:
            return f"< {edges[0]:g}"
        return f"≥ {edges[-1]:g}" if bin_ == len(edges) else f"{edges[bin_ - 1]:g} … {edges[bin_]:g}"


class Statistics(Section, frozen=True, kw_only=True):
    """assets.extra/statistics.json: what `deployer export --data` saw in `records` rows of training data.

    `features` are counted of the records as they come, `scores` of the predictions of the exported version.
    """

    records: Count
    features: list[Distribution]
    scores: tuple[Distribution, ...] = ()

    def __post_init__(self) -> None:
        for part, known in (("features", self.features), ("scores", self.scores)):
            names = [one.name for one in known]
            if len(set(names)) < len(names):
                raise ValueError(f"statistics.{part}: names must be unique")


def with_statistics(features: str, statistics: str | None) -> str:
    """The text of features.yaml with that of statistics.json as its key `statistics`.

    A spec that has the key, or that is no mapping, stays as it is.
    """
    if statistics is None:
        return features
    try:
        document, known = load(features), msgspec.json.decode(statistics)
        if not isinstance(document, dict) or "statistics" in document:
            return features
        joined = f"{features.rstrip()}\nstatistics: {msgspec.json.encode(known).decode()}\n"
        wanted = {**document, "statistics": known}
        if "\n{" not in f"\n{features.lstrip()}" and load(joined) == wanted:
            return joined
    except (yaml.YAMLError, msgspec.DecodeError):
        return features
    return msgspec.json.encode(wanted).decode()
