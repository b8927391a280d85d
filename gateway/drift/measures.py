"""What is counted of a feature: a number or a word of each record, as the client sent it.

Counted are values before any transform, so that bins can be read by people and compared between versions. Timestamps,
images, crosses and code are not counted: time moves by itself, and the others have no value to bin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from gateway.preprocess import Rates, Record
from gateway.preprocess.vocabularies import read_words
from gateway.spec import (
    BoolFeature,
    CategoryFeature,
    CodeFeature,
    CrossFeature,
    Currency,
    DifferenceFeature,
    Feature,
    FeatureSpec,
    FloatFeature,
    ImageFeature,
    IntFeature,
    ListFeature,
    RatioFeature,
    StringFeature,
    TimestampFeature,
    VectorFeature,
)

Array = NDArray[Any]
Numbers = Callable[[Sequence[Record]], Array]
"""One float64 per record; NaN where the value is missing."""
Words = Callable[[Sequence[Record]], Mapping[str | None, int]]
"""How often each word came; None where the value is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """What is counted of one feature: `numbers` or `words`. Words outside of `vocabulary` are unknown to the model.

    `heavy` says that the value of a record may be large.
    """

    name: str
    numbers: Numbers | None = None
    words: Words | None = None
    vocabulary: Container[str] | None = None
    heavy: bool = False


def measures(spec: FeatureSpec, rates: Rates | None, files: Path | None = None) -> list[Measure]:
    """One per feature that can be counted; `rates` and `files` as of `compile_spec`, which was called before."""
    found = (_measure(feature, rates, files) for feature in spec.features)
    return [measure for measure in found if measure is not None]


def _measure(feature: Feature, rates: Rates | None, files: Path | None) -> Measure | None:
    name, key = feature.name, feature.key
    match feature:
        case FloatFeature(currency=Currency() as currency) if rates is not None:
            return Measure(name=name, numbers=lambda records: _money(records, key, currency, rates))
        case FloatFeature() | IntFeature():
            return Measure(name=name, numbers=lambda records: _numbers(records, key))
        case RatioFeature():
            return Measure(name=name, numbers=lambda records: _pair(records, feature.of, np.divide))
        case DifferenceFeature():
            return Measure(name=name, numbers=lambda records: _pair(records, feature.of, np.subtract))
        case VectorFeature():
            return Measure(name=name, numbers=lambda records: _means(records, key), heavy=True)
        case ListFeature() | StringFeature():
            return Measure(name=name, numbers=lambda records: _lengths(records, key), heavy=True)
        case BoolFeature():
            return Measure(name=name, words=lambda records: _truths(records, key))
        case CategoryFeature():
            vocabulary = _vocabulary(feature, files)
            normal = feature.text.apply if feature.text is not None else None
            return Measure(name=name, words=lambda records: _words(records, key, normal), vocabulary=vocabulary)
        case TimestampFeature() | ImageFeature() | CrossFeature() | CodeFeature():
            return None
        case _:
            assert_never(feature)


def _vocabulary(feature: CategoryFeature, files: Path | None) -> Container[str] | None:
    """The words that the model knows; None if it may know any."""
    if feature.vocabulary is not None:
        return frozenset(feature.vocabulary)
    if feature.vocabulary_file is not None and files is not None:
        return read_words(files / feature.vocabulary_file)  # the words of the compiled spec, which are in memory
    return None


def _numbers(records: Sequence[Record], key: str) -> Array:
    values = [record.get(key) for record in records]
    return np.array(values, dtype=np.float64)  # of None numpy makes NaN


def _money(records: Sequence[Record], key: str, currency: Currency, rates: Rates) -> Array:
    factors = rates.factors(currency.to)
    own = currency.default or currency.to
    codes = [record.get(currency.field) or own for record in records]
    amounts = _numbers(records, key)
    amounts *= [factors.get(str(code), np.nan) for code in codes]
    return amounts


def _pair(records: Sequence[Record], keys: Sequence[str], combine: Callable[[Array, Array], Array]) -> Array:
    first, second = (_numbers(records, key) for key in keys)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        made: Array = combine(first, second)
    made[~np.isfinite(made)] = np.nan
    return made


def _means(records: Sequence[Record], key: str) -> Array:
    vectors: list[Any] = [record.get(key) for record in records]
    return np.array([np.nan if vector is None else float(np.mean(vector)) for vector in vectors])


def _lengths(records: Sequence[Record], key: str) -> Array:
    values: list[Any] = [record.get(key) for record in records]
    return np.array([np.nan if value is None else float(len(value)) for value in values])


def _truths(records: Sequence[Record], key: str) -> Mapping[str | None, int]:
    counted = Counter(record.get(key) for record in records)
    return {None if value is None else str(value).lower(): times for value, times in counted.items()}


def _words(records: Sequence[Record], key: str, normal: Callable[[str], str] | None) -> Mapping[str | None, int]:
    counted: Counter[Any] = Counter([record.get(key) for record in records])
    if normal is None:
        return counted
    made: Counter[str | None] = Counter()
    for word, times in counted.items():
        made[None if word is None else normal(word)] += times
    return made
