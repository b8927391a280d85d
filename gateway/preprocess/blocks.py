"""The blocks that fill one tensor: which features are worked on together, and which alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import numpy as np

from gateway.preprocess.batch import Array, Block, Reader
from gateway.preprocess.code import CodeBlock
from gateway.preprocess.currency import Money, RateProblem, Rates
from gateway.preprocess.image import PIXELS_MAX, ImageBlock
from gateway.preprocess.lists import ListBlock
from gateway.preprocess.missing import Gap, MissingBlock, MissingNumbers
from gateway.preprocess.numbers import Column, NumberBlock, VectorSource
from gateway.preprocess.pairs import PairBlock
from gateway.preprocess.tabular import Transforms
from gateway.preprocess.text import BoolBlock, CategoryBlock, CrossBlock, StringBlock, Words
from gateway.preprocess.times import Now, TimestampBlock
from gateway.spec import (
    BoolFeature,
    CategoryFeature,
    CodeFeature,
    CrossFeature,
    DifferenceFeature,
    Feature,
    FloatFeature,
    ImageFeature,
    IntFeature,
    ListFeature,
    RatioFeature,
    SpecProblem,
    StringFeature,
    Tensor,
    TimestampFeature,
    VectorFeature,
    Vocabulary,
)
from gateway.spec.fit import EXACT_MAX
from gateway.spec.lists import CategoryItems

Placed = Sequence[tuple[FloatFeature | IntFeature, int]]
"""Features of numbers, each with its first column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What a spec needs from outside: exchange rates, the time, and the folder with the files that it names."""

    rates: Rates | None = None
    now: Now = time.time
    image_pixels: int = PIXELS_MAX
    files: Path | None = None


def blocks(tensor: Tensor, world: World) -> list[Block]:
    """One block for all floats, one for all ints, one for each other feature. Errors: SpecProblem."""
    made: list[Block] = []
    groups: dict[tuple[type, int], list[tuple[FloatFeature | IntFeature, int]]] = {}
    with_gaps: Counter[str] = Counter()
    column = 0
    for feature in tensor.features:
        if isinstance(feature, FloatFeature | IntFeature):
            if feature.bucketize is not None:
                made.append(_numbers([(feature, column)], tensor.dtype, world))
            else:
                # What stands in for a missing value is put into the record, so that in a group each key has one reader.
                if feature.missing is not None:
                    with_gaps.update(feature.keys)
                group = max(with_gaps[key] for key in feature.keys) if feature.missing is not None else 0
                groups.setdefault((type(feature), group), []).append((feature, column))
        else:
            made.append(_with_gap(_alone(feature, column, tensor.dtype, world), feature, column))
        column += feature.width
    return made + [_numbers(placed, tensor.dtype, world) for placed in groups.values()]


def _alone(feature: Feature, column: int, dtype: str, world: World) -> Block:
    match feature:
        case VectorFeature():
            columns = [
                Column(key=feature.key, rules=feature, prefix=f"element {index}: ") for index in range(feature.length)
            ]
            return NumberBlock(VectorSource(feature), columns, slice(column, column + feature.columns), dtype)
        case CategoryFeature():
            return CategoryBlock(feature, column, _words(feature, feature, dtype, world))
        case CrossFeature():
            return CrossBlock(feature, column)
        case BoolFeature():
            return BoolBlock(feature, column)
        case StringFeature():
            return StringBlock(feature, column)
        case ImageFeature():
            return ImageBlock(feature, world.image_pixels)
        case CodeFeature():
            return CodeBlock(feature, column)
        case TimestampFeature():
            return TimestampBlock(feature, column, dtype, world.now)
        case ListFeature():
            items = feature.items
            words = _words(feature, items, dtype, world) if isinstance(items, CategoryItems) else None
            return ListBlock(feature, column, dtype, words)
        case RatioFeature() | DifferenceFeature():
            return PairBlock(feature, column, dtype)
        case FloatFeature() | IntFeature():
            return _numbers([(feature, column)], dtype, world)
        case _:
            assert_never(feature)


def _words(feature: CategoryFeature | ListFeature, spec: Vocabulary, dtype: str, world: World) -> Words:
    """Errors: SpecProblem for a vocabulary file that cannot be read, or whose words do not fit the spec."""
    if spec.vocabulary_file is None:
        return Words(spec)
    path = f"features: {feature.name}"
    if world.files is None:
        raise SpecProblem(
            path,
            f"the folder with {spec.vocabulary_file} is not known; set models.NAME.files in the gateway's config, "
            "in a cluster gateway.mount_store in deployer.yaml",
        )
    try:
        words = Words(spec, world.files / spec.vocabulary_file)
    except SpecProblem as error:
        raise SpecProblem(path, error.what) from error
    for key, word in (
        ("default", feature.default),
        ("missing.value", feature.missing.value if feature.missing else None),
    ):
        if isinstance(word, str) and word not in words:
            raise SpecProblem(path, f"{key} '{word}' is not in {spec.vocabulary_file}")
    if words.count - 1 > EXACT_MAX.get(dtype, words.count):
        raise SpecProblem(path, f"{spec.vocabulary_file} has {words.count:,} words, {dtype} holds {EXACT_MAX[dtype]:,}")
    return words


def _numbers(placed: Placed, dtype: str, world: World) -> Block:
    features = [feature for feature, _ in placed]
    block = NumberBlock(
        Reader([feature.key for feature in features], [feature.default for feature in features]),
        [Column(key=feature.key, rules=feature, unit=_unit(feature)) for feature in features],
        _target(placed),
        dtype,
        whole=isinstance(features[0], IntFeature),
        money=_money(features, world.rates),
    )
    gaps = [gap for feature, column in placed if (gap := _gap(feature, column)) is not None]
    if not gaps:
        return block
    plain = all(list(gap.stand_ins) == gap.keys for gap in gaps)
    return MissingNumbers(block, gaps) if plain else MissingBlock(block, gaps)


def _unit(feature: FloatFeature | IntFeature) -> str:
    return f" {feature.currency.to}" if isinstance(feature, FloatFeature) and feature.currency else ""


def _target(placed: Placed) -> slice | Array:
    """Neighbours as a slice, which numpy writes twice as fast as scattered columns."""
    first, last = placed[0][1], placed[-1][1]
    if len(placed) == 1:
        return slice(first, first + placed[0][0].columns)
    columns = [column for _, column in placed]
    return slice(first, last + 1) if last - first + 1 == len(columns) else np.array(columns, dtype=np.intp)


def _money(features: Sequence[FloatFeature | IntFeature], rates: Rates | None) -> list[Money]:
    money = []
    for column, feature in enumerate(features):
        if not isinstance(feature, FloatFeature) or feature.currency is None:
            continue
        if rates is None:
            raise SpecProblem(
                f"features: {feature.name}",
                "currency needs a table of exchange rates; set rates in the gateway's config",
            )
        try:
            rates.require(feature.currency.to)
        except RateProblem as error:
            raise SpecProblem(f"features: {feature.name}", str(error)) from error
        money.append(Money(column=column, key=feature.key, currency=feature.currency, rates=rates))
    return money


def _with_gap(block: Block, feature: Feature, column: int) -> Block:
    some_word = block.some_word if isinstance(block, CategoryBlock) else ""
    gap = _gap(feature, column, some_word)
    return MissingBlock(block, [gap]) if gap is not None else block


def _gap(feature: Feature, column: int, some_word: str = "") -> Gap | None:
    """What may be missing of a feature, and what it reads then; `some_word` is one of the vocabulary."""
    if isinstance(feature, ImageFeature | CodeFeature) or feature.missing is None:
        return None
    stand_ins, zero = _stand_ins(feature, some_word)
    fill = 0.0 if zero else None
    if isinstance(feature, IntFeature) and feature.stand_in is not None and not feature.stand_in.is_integer():
        fill = _transformed(feature, feature.stand_in)  # no whole number that could stand among the others
    flag = column + feature.columns if feature.flag else None
    keys = [feature.key] if isinstance(feature, FloatFeature) else list(feature.keys)
    return Gap(
        keys=keys,
        stand_ins=stand_ins,
        columns=slice(column, column + feature.columns),
        fill=fill,
        flag=flag,
        required=bool(feature.required),
    )


def _transformed(feature: IntFeature, value: float) -> float:
    matrix = np.array([[value]])
    Transforms.of([feature], whole=False).apply(matrix)
    return float(matrix[0, 0])


def _stand_ins(feature: Feature, some_word: str) -> tuple[dict[str, object], bool]:
    """What the keys of a feature are read as where it is missing, and whether its columns become 0 after all."""
    match feature:
        case FloatFeature() | IntFeature() | VectorFeature():
            value = feature.stand_in
            number: object = feature.placeholder if value is None else value
            if isinstance(feature, IntFeature):
                number = int(feature.placeholder if value is None or not value.is_integer() else value)
            if isinstance(feature, VectorFeature):
                number = [number] * feature.length
            found = {feature.key: number}
            if isinstance(feature, FloatFeature) and feature.currency is not None:
                found[feature.currency.field] = feature.currency.to
            return found, value is None
        case RatioFeature() | DifferenceFeature():
            return dict.fromkeys(feature.of, 1.0), feature.stand_in is None
        case TimestampFeature():
            moment: object = "1970-01-01T00:00:00Z" if feature.format == "rfc3339" else 0
            return dict.fromkeys(feature.keys, moment), True
        case ListFeature():
            return {feature.key: []}, True
        case BoolFeature():
            value_ = feature.missing.value if feature.missing else None
            return {feature.key: bool(value_)}, value_ is None
        case CategoryFeature():
            word = feature.missing.value if feature.missing else None
            return {feature.key: some_word if word is None else word}, word is None
        case CrossFeature() | StringFeature():
            word = feature.missing.value if feature.missing else None
            return dict.fromkeys(feature.keys, word or ""), word is None and isinstance(feature, CrossFeature)
        case ImageFeature() | CodeFeature():
            return {}, False
        case _:
            assert_never(feature)
