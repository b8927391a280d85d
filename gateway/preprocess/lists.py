"""Lists of numbers or words of any length, in a fixed number of columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

import numpy as np

from gateway.preprocess.batch import ABSENT, Array, Batch, Reader
from gateway.preprocess.findings import MISSING, Findings, kind_name
from gateway.preprocess.numbers import Column, NumberBlock
from gateway.preprocess.text import NOT_IN_VOCABULARY, Words, text_of
from gateway.spec import ListFeature
from gateway.spec.lists import CategoryItems


class _ElementFindings(Findings):
    """Problems of elements, told as problems of the records that hold them."""

    def __init__(self, findings: Findings, records: Sequence[int], positions: Sequence[int]) -> None:
        super().__init__(())
        self._findings = findings
        self._records = records
        self._positions = positions

    def add(self, record: int, feature: str, problem: str | Callable[[], str]) -> None:
        self.total += 1
        self._findings.add(self._records[record], feature, partial(self._told, self._positions[record], problem))

    @staticmethod
    def _told(position: int, problem: str | Callable[[], str]) -> str:
        return f"element {position}: {problem if isinstance(problem, str) else problem()}"


class _Elements:
    """The elements of all lists of a request, as the source of a block of numbers."""

    def read(self, batch: Batch) -> list[object]:
        return list(batch.records)


class ListBlock:
    """The list of each record, cut and padded, or multi-hot."""

    def __init__(self, feature: ListFeature, column: int, dtype: str, words: Words | None) -> None:
        """`words` is how words become numbers, for a list of them."""
        self._feature = feature
        self._column = column
        self._reader = Reader([feature.key], [feature.default])
        self._words = words
        self._numbers: NumberBlock | None = None
        if not isinstance(feature.items, CategoryItems):
            rules = [Column(key=feature.key, rules=feature.items)]
            self._numbers = NumberBlock(_Elements(), rules, slice(0, 1), dtype)
        self._dtype = dtype

    def fill(self, batch: Batch, out: Array) -> None:
        lists = [self._list(value, record, batch) for record, value in enumerate(self._reader.read(batch))]
        lengths = np.array([len(one) for one in lists], dtype=np.intp)
        rows = np.repeat(np.arange(len(lists)), lengths)
        starts = np.cumsum(lengths) - lengths
        positions = np.arange(len(rows)) - np.repeat(starts, lengths)
        elements = list(chain.from_iterable(lists))
        inner = Batch(
            records=elements,  # type: ignore[arg-type]  # the elements, one a row
            complete=True,
            findings=_ElementFindings(batch.findings, rows.tolist(), positions.tolist()),
        )
        values = self._values(elements, inner)
        if batch.findings.total:
            return
        if self._feature.multi_hot:
            out[rows, self._column + values.astype(np.intp)] = 1
            return
        out[:, self._column : self._column + self._feature.columns] = self._feature.pad
        out[rows, self._column + positions] = values

    def _list(self, value: object, record: int, batch: Batch) -> Sequence[object]:
        """The elements that are kept; none where the value is no list, which is reported."""
        feature = self._feature
        if isinstance(value, list | tuple):
            if feature.length is None or len(value) <= feature.length:
                return value
            if feature.truncate == "end":
                return value[: feature.length]
            if feature.truncate == "start":
                return value[-feature.length :]
            problem = f"has {len(value)} elements, at most {feature.length} are taken"
        elif value is ABSENT:
            problem = MISSING
        else:
            problem = f"expected an array, got {kind_name(value)}"
        batch.findings.add(record, feature.key, problem)
        return ()

    def _values(self, elements: Sequence[object], inner: Batch) -> Array:
        if self._words is None:
            assert self._numbers is not None
            made = np.zeros((len(elements), 1), dtype=self._dtype)
            self._numbers.fill(inner, made)
            return made[:, 0]
        if (known := self._words.look_up(elements)) is not None:
            return np.array(known, dtype=np.int64)
        texts = [text_of(element, index, self._feature.key, inner) for index, element in enumerate(elements)]
        indices = self._words.indices(texts)
        for index, (text, found) in enumerate(zip(texts, indices, strict=True)):
            if found == NOT_IN_VOCABULARY:
                inner.findings.add(index, self._feature.key, partial(self._words.unknown, text))
        return np.array(indices, dtype=np.int64)
