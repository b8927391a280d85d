"""The bins of one version, and records counted into them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gateway.drift.bins import Bins
from gateway.drift.measures import Measure, measures
from gateway.drift.scores import scores
from gateway.preprocess import Rates, Record
from gateway.spec import Distribution, FeatureSpec, ImageFeature, Output, Statistics

Array = NDArray[Any]
FEATURE, SCORE = "feature", "score"
Counted = tuple[str, Distribution, Array]
"""Feature or score, its distribution in training, and the counts of its bins."""


class Watch:
    """Counts what came against what training saw. Made once per version."""

    def __init__(
        self, spec: FeatureSpec, statistics: Statistics, rates: Rates | None, files: Path | None = None
    ) -> None:
        """`files` is the folder with the vocabularies of the version."""
        self.statistics = statistics
        distributions = {one.name: one for one in statistics.features}
        wanted = [one for one in measures(spec, rates, files) if one.name in distributions]
        self._features = [(one, Bins(distributions[one.name], one.vocabulary)) for one in wanted]
        self._features = [
            (one, bins) for one, bins in self._features if bins.numeric == (one.numbers is not None)
        ]  # another spec may have come in the place of the one that training data was counted by
        self._scores = [Bins(one) for one in statistics.scores]
        self.heavy = any(one.heavy for one, _ in self._features)
        self.heavy = self.heavy or any(isinstance(feature, ImageFeature) for feature in spec.features)

    def training(self) -> Iterator[tuple[str, Distribution]]:
        """Everything that is counted."""
        yield from ((FEATURE, bins.distribution) for _, bins in self._features)
        yield from ((SCORE, bins.distribution) for bins in self._scores)

    def count(self, records: Sequence[Record], predictions: Sequence[object], output: Output) -> Iterator[Counted]:
        """The counts of records that were answered, and of their predictions, which were made by `output`."""
        for measure, bins in self._features:
            try:
                counts = _counted(measure, bins, records)
            except (AttributeError, TypeError, ValueError, OverflowError):
                continue  # records of another version, in which the key holds something else
            yield FEATURE, bins.distribution, counts
        said = scores(predictions, output) if self._scores else {}
        for bins in self._scores:
            values = said.get(bins.distribution.name)
            if values is None:
                continue
            if values.numbers is not None and bins.numeric:
                yield SCORE, bins.distribution, bins.of_numbers(values.numbers)
            elif values.words is not None and not bins.numeric:
                yield SCORE, bins.distribution, bins.of_words(values.words)


def _counted(measure: Measure, bins: Bins, records: Sequence[Record]) -> Array:
    if measure.numbers is not None:
        return bins.of_numbers(measure.numbers(records))
    return bins.of_words(measure.words(records) if measure.words is not None else {})
