"""Values counted into the bins of one distribution."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.spec import Distribution

Array = NDArray[Any]


class Bins:
    """The bins of a distribution, then one for missing and one for unknown values."""

    def __init__(self, distribution: Distribution, vocabulary: Container[str] | None = None) -> None:
        """Words outside of `vocabulary` are unknown; None: no word is."""
        self.distribution = distribution
        self._size = len(distribution.counts)
        self._edges = np.array(distribution.edges or [], dtype=np.float64)
        self._places = {word: place for place, word in enumerate(distribution.words or ())}
        self._vocabulary = vocabulary

    @property
    def numeric(self) -> bool:
        """Whether numbers are counted, else words."""
        return self.distribution.edges is not None

    def of_numbers(self, values: Array) -> Array:
        """Counts of float64 values; NaN is a missing one."""
        places = np.searchsorted(self._edges, values, side="right")
        missing = np.isnan(values)
        if missing.any():
            places[missing] = self._size
        return np.bincount(places, minlength=self._size + 2)

    def of_words(self, words: Mapping[str | None, int]) -> Array:
        """Counts of words with how often each came; None is a missing one."""
        counts = np.zeros(self._size + 2, dtype=np.int64)
        for word, times in words.items():
            counts[self._place(word)] += times
        return counts

    def _place(self, word: str | None) -> int:
        if word is None:
            return self._size
        if (place := self._places.get(word)) is not None:
            return place
        known = self._vocabulary is None or word in self._vocabulary
        return self._size - 1 if known else self._size + 1
