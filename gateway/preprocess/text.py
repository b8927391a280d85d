"""Words into numbers (category), text into bytes (string), true and false into 1 and 0 (bool): one block a feature."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from zlib import crc32

import numpy as np

from gateway.preprocess.batch import ABSENT, Array, Batch, Reader
from gateway.preprocess.findings import MISSING, kind_name, listed, shown
from gateway.spec import BoolFeature, CategoryFeature, StringFeature


def one_hot(indices: Sequence[int], column: int, out: Array) -> None:
    """A 1 in the column of each record's index, counted from `column`; the columns are 0 before."""
    out[np.arange(len(indices)), np.array(indices, dtype=np.intp) + column] = 1


def hash_bucket(word: str, buckets: int) -> int:
    """CRC-32 of the UTF-8 text modulo buckets: every language has it, so that training can do the same."""
    return crc32(word.encode()) % buckets


def read_texts(reader: Reader, feature: str, batch: Batch) -> list[str | None]:
    """The texts of a feature; None where the value is none, which is reported."""
    return [_text(value, record, feature, batch) for record, value in enumerate(reader.read(batch))]


def _text(value: object, record: int, feature: str, batch: Batch) -> str | None:
    if isinstance(value, str):
        if value.isascii() or _encodable(value):
            return value
        problem = "not valid Unicode text: it has half of a surrogate pair"
    elif value is ABSENT:
        problem = MISSING
    else:
        problem = f"expected a string, got {kind_name(value)}"
    batch.findings.add(record, feature, problem)
    return None


class CategoryBlock:
    """A category: one column per word (one_hot) or one column with a number (index, hash_bucket)."""

    def __init__(self, feature: CategoryFeature, column: int) -> None:
        self._feature = feature
        self._column = column
        self._reader = Reader([feature.name], [feature.default])
        self._vocabulary = {word: index for index, word in enumerate(feature.vocabulary or ())}
        self._stand_in = -1 if feature.stand_in is None else self._vocabulary[feature.stand_in]

    def fill(self, batch: Batch, out: Array) -> None:
        words = read_texts(self._reader, self._feature.name, batch)
        buckets = self._feature.buckets
        if buckets is not None:
            out[:, self._column] = [0 if word is None else hash_bucket(word, buckets) for word in words]
            return
        indices = [0 if word is None else self._vocabulary.get(word, self._stand_in) for word in words]
        if -1 in indices:
            self._report(words, indices, batch)
        elif self._feature.encoding == "one_hot":
            one_hot(indices, self._column, out)
        else:
            out[:, self._column] = indices

    def _report(self, words: Sequence[str | None], indices: Sequence[int], batch: Batch) -> None:
        for record, (word, index) in enumerate(zip(words, indices, strict=True)):
            if index == -1:
                batch.findings.add(record, self._feature.name, partial(self._unknown, word))

    def _unknown(self, word: str | None) -> str:
        return f"unknown category {shown(word)}; known: {listed(self._vocabulary)}"


class StringBlock:
    """A string: UTF-8 bytes in a tensor of strings, which the model takes apart itself."""

    def __init__(self, feature: StringFeature, column: int) -> None:
        self._name = feature.name
        self._column = column
        self._reader = Reader([feature.name], [feature.default])

    def fill(self, batch: Batch, out: Array) -> None:
        texts = read_texts(self._reader, self._name, batch)
        out[:, self._column] = [b"" if text is None else text.encode() for text in texts]


class BoolBlock:
    """A truth value: 1 or 0, or true or false in a bool tensor. Numbers and words are not truth values."""

    def __init__(self, feature: BoolFeature, column: int) -> None:
        self._name = feature.name
        self._column = column
        self._reader = Reader([feature.name], [feature.default])

    def fill(self, batch: Batch, out: Array) -> None:
        values = self._reader.read(batch)
        if {bool}.issuperset(map(type, values)):
            out[:, self._column] = values
            return
        for record, value in enumerate(values):
            if value is ABSENT:
                batch.findings.add(record, self._name, MISSING)
            elif not isinstance(value, bool):
                batch.findings.add(record, self._name, f"expected true or false, got {kind_name(value)}")


def _encodable(text: str) -> bool:
    """JSON can spell half of a surrogate pair, which has no UTF-8 form."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
