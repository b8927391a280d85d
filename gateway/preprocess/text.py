"""Words into numbers (category, cross), text into bytes (string), true and false into 1 and 0 (bool)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np

from gateway.preprocess import farmhash
from gateway.preprocess.batch import ABSENT, Array, Batch, Reader
from gateway.preprocess.findings import MISSING, kind_name, listed, shown
from gateway.preprocess.vocabularies import FileWords, read_words
from gateway.spec import BoolFeature, CategoryFeature, CrossFeature, SpecProblem, StringFeature, Vocabulary

NOT_IN_VOCABULARY = -1
"""The index of a word that the vocabulary does not have and for which none stands in."""


WORDS_CACHED = 1 << 14
"""Words per feature whose index is kept, beside those of the vocabulary."""
CACHED_LENGTH_MAX = 64
"""Longer words are not kept, so that what is kept is bounded in bytes too."""


def one_hot(indices: Sequence[int], column: int, out: Array) -> None:
    """A 1 in the column of each record's index, counted from `column`; the columns are 0 before."""
    out[np.arange(len(indices)), np.array(indices, dtype=np.intp) + column] = 1


def hash_bucket(word: str, buckets: int) -> int:
    """CRC-32 of the UTF-8 text modulo buckets: every language has it, so that training can do the same."""
    return crc32(word.encode()) % buckets


def read_texts(reader: Reader, key: str, batch: Batch) -> list[str | None]:
    """The texts of a feature; None where the value is none, which is reported."""
    return texts_of(reader.read(batch), key, batch)


def texts_of(values: list[object], key: str, batch: Batch) -> list[str | None]:
    """Values as texts; None where one is none, which is reported."""
    if {str}.issuperset(map(type, values)):
        texts: list[str] = values  # type: ignore[assignment]  # what has just been seen
        if "".join(texts).isascii():
            return texts  # type: ignore[return-value]  # a list that nobody writes to
    return [text_of(value, record, key, batch) for record, value in enumerate(values)]


def text_of(value: object, record: int, key: str, batch: Batch, at: str = "") -> str | None:
    """A value as text; None where it is none, which is reported."""
    if isinstance(value, str):
        if value.isascii() or _encodable(value):
            return value
        problem = "not valid Unicode text: it has half of a surrogate pair"
    elif value is ABSENT:
        problem = MISSING
    else:
        problem = f"expected a string, got {kind_name(value)}"
    batch.findings.add(record, key, at + problem)
    return None


class Words:
    """How the words of one feature become indices."""

    def __init__(self, spec: Vocabulary, path: Path | None = None) -> None:
        """`path` is the vocabulary file of a spec that names one. Errors: SpecProblem for a file that does not fit."""
        self.one_hot = spec.encoding == "one_hot"
        self._path = path
        if path is None:
            self._file: FileWords | None = None
            self._vocabulary: Mapping[str, int] = {word: index for index, word in enumerate(spec.vocabulary or ())}
        else:
            self._vocabulary = self._file = read_words(path)
            if spec.stand_in is not None and spec.stand_in not in self._vocabulary:
                raise SpecProblem("", f"unknown '{spec.stand_in}' is not in {path}")
        self._stand_in = NOT_IN_VOCABULARY if spec.stand_in is None else self._vocabulary[spec.stand_in]
        self._normal = spec.text.apply if spec.text is not None else None
        self._hash: Callable[[str, int], int] = farmhash.bucket if spec.hash == "farmhash" else hash_bucket
        self._buckets = spec.buckets
        self._seen = dict(self._vocabulary) if path is None else {}  # words of a file are shared, not copied
        self._most = len(self._seen) + WORDS_CACHED

    @property
    def count(self) -> int:
        """Words of the vocabulary."""
        return len(self._vocabulary)

    @property
    def first(self) -> str:
        """Some word of the vocabulary; empty where there is none."""
        return next(iter(self._vocabulary), "")

    def __contains__(self, word: object) -> bool:
        return word in self._vocabulary

    def look_up(self, values: Sequence[object]) -> list[int] | None:
        """The indices of values that are all words seen before; None where one is not. Words of the vocabulary are
        their own normal form."""
        try:
            if self._file is not None:
                found = self._file.find(values)  # type: ignore[arg-type]  # a list, which is not changed
            else:
                found = list(map(self._seen.get, values))  # type: ignore[arg-type]  # what is no word is not found
        except TypeError:
            return None
        return None if None in found else found  # type: ignore[return-value]  # no None is in it

    def indices(self, words: Sequence[str | None]) -> list[int]:
        """The index of each word; 0 for None, `NOT_IN_VOCABULARY` for one that must not be."""
        return [0 if word is None else self._index(word) for word in words]

    def _index(self, word: str) -> int:
        index = self._seen.get(word)
        if index is None:
            normal = word if self._normal is None else self._normal(word)
            if self._buckets is not None:
                index = self._hash(normal, self._buckets)
            else:
                index = self._vocabulary.get(normal, self._stand_in)
            if index != NOT_IN_VOCABULARY and len(self._seen) < self._most and len(word) <= CACHED_LENGTH_MAX:
                self._seen[word] = index
        return index

    def unknown(self, word: str | None) -> str:
        """The sentence for a word that must not be."""
        known = listed(self._vocabulary) if self._path is None else f"the {self.count:,} words of {self._path.name}"
        return f"unknown category {shown(word)}; known: {known}"


class CategoryBlock:
    """A category: one column per word (one_hot) or one column with a number (index, hash_bucket)."""

    def __init__(self, feature: CategoryFeature, column: int, words: Words) -> None:
        self._key = feature.key
        self._column = column
        self._reader = Reader([feature.key], [feature.default])
        self._words = words

    @property
    def some_word(self) -> str:
        """A word that is known, where there is one."""
        return self._words.first

    def fill(self, batch: Batch, out: Array) -> None:
        values = self._reader.read(batch)
        indices = self._words.look_up(values)
        if indices is None:
            words = texts_of(values, self._key, batch)
            indices = self._words.indices(words)
            if NOT_IN_VOCABULARY in indices:
                for record, (word, index) in enumerate(zip(words, indices, strict=True)):
                    if index == NOT_IN_VOCABULARY:
                        batch.findings.add(record, self._key, partial(self._words.unknown, word))
                return
        if self._words.one_hot:
            one_hot(indices, self._column, out)
        else:
            out[:, self._column] = indices


class CrossBlock:
    """Several categories as one, by the hash of their words together."""

    def __init__(self, feature: CrossFeature, column: int) -> None:
        self._feature = feature
        self._column = column
        self._readers = [(key, Reader([key])) for key in feature.of]

    def fill(self, batch: Batch, out: Array) -> None:
        feature = self._feature
        texts = [read_texts(reader, key, batch) for key, reader in self._readers]
        normal = feature.text.apply if feature.text is not None else str
        crossed = [[normal(word) for word in words if word is not None] for words in zip(*texts, strict=True)]
        if feature.hash == "farmhash":
            indices = [farmhash.cross_bucket(words, feature.buckets) for words in crossed]
        else:
            indices = [hash_bucket("_X_".join(words), feature.buckets) for words in crossed]
        if feature.encoding == "one_hot":
            one_hot(indices, self._column, out)
        else:
            out[:, self._column] = indices


class StringBlock:
    """A string: UTF-8 bytes in a tensor of strings, which the model takes apart itself."""

    def __init__(self, feature: StringFeature, column: int) -> None:
        self._key = feature.key
        self._column = column
        self._reader = Reader([feature.key], [feature.default])
        self._normal = feature.text.apply if feature.text is not None else None

    def fill(self, batch: Batch, out: Array) -> None:
        texts = read_texts(self._reader, self._key, batch)
        if self._normal is not None:
            texts = [text if text is None else self._normal(text) for text in texts]
        out[:, self._column] = [b"" if text is None else text.encode() for text in texts]


class BoolBlock:
    """A truth value: 1 or 0, or true or false in a bool tensor. Numbers and words are not truth values."""

    def __init__(self, feature: BoolFeature, column: int) -> None:
        self._key = feature.key
        self._column = column
        self._reader = Reader([feature.key], [feature.default])

    def fill(self, batch: Batch, out: Array) -> None:
        values = self._reader.read(batch)
        if {bool}.issuperset(map(type, values)):
            out[:, self._column] = values
            return
        for record, value in enumerate(values):
            if value is ABSENT:
                batch.findings.add(record, self._key, MISSING)
            elif not isinstance(value, bool):
                batch.findings.add(record, self._key, f"expected true or false, got {kind_name(value)}")


def _encodable(text: str) -> bool:
    """JSON can spell half of a surrogate pair, which has no UTF-8 form."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
