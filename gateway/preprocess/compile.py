"""A feature spec made ready: `compile_spec` once per version, `Compiled.vectorize` once per request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import assert_never

import numpy as np

from gateway.preprocess.batch import Array, Batch, Block, Reader, Record
from gateway.preprocess.currency import Money, RateProblem, Rates
from gateway.preprocess.findings import Findings, kind_name, shortened
from gateway.preprocess.image import ImageBlock
from gateway.preprocess.numbers import NumberBlock, VectorSource
from gateway.preprocess.text import BoolBlock, CategoryBlock, StringBlock
from gateway.spec import (
    BoolFeature,
    CategoryFeature,
    FeatureSpec,
    FloatFeature,
    ImageFeature,
    IntFeature,
    SpecProblem,
    StringFeature,
    VectorFeature,
)
from gateway.spec.strict import nearest

TENSOR_BYTES_MAX = 1 << 30
"""Largest input tensor of one request: half of what one gRPC message can carry."""

_SUGGESTIONS_MAX = 20


class Compiled:
    """Turns records into the input tensor of one version. Made by `compile_spec`; safe to share between threads."""

    def __init__(self, spec: FeatureSpec, blocks: Sequence[Block]) -> None:
        self._blocks = blocks
        self._names = [feature.name for feature in spec.features]
        self._known = frozenset(self._names) | {
            feature.currency.field
            for feature in spec.features
            if isinstance(feature, FloatFeature) and feature.currency
        }
        self._width = sum(feature.width for feature in spec.features)
        self._shape = tuple(spec.input.shape[1:])
        self._dtype = np.dtype(object if spec.input.dtype == "string" else spec.input.dtype)
        self._rows_max = TENSOR_BYTES_MAX // (self._width * self._dtype.itemsize)

    def vectorize(self, records: Sequence[Record]) -> Array:
        """The input tensor, of the spec's dtype and shape, row i from record i; strings are bytes objects.

        Errors: RecordProblems with every problem of every record.
        """
        findings = Findings(self._names)
        if len(records) > self._rows_max:
            findings.add(self._rows_max, "", f"too many records; one request to this model holds {self._rows_max}")
            findings.raise_if_any()
        batch = Batch(records=records, complete=self._check_keys(records, findings), findings=findings)
        out = np.zeros((len(records), self._width), dtype=self._dtype)
        for block in self._blocks:
            block.fill(batch, out)
        findings.raise_if_any()
        return out.reshape(len(records), *self._shape)

    def _check_keys(self, records: Sequence[Record], findings: Findings) -> bool:
        """Whether every record has exactly the known keys; unknown ones are reported."""
        if not {dict}.issuperset(map(type, records)):
            _check_objects(records, findings)
        known = self._known
        if all(record.keys() == known for record in records):
            return True
        for index, record in enumerate(records):
            if not record.keys() <= known:
                for name in record.keys() - known:
                    findings.add(index, shortened(str(name)), partial(self._unknown, str(name), findings))
        return False

    def _unknown(self, name: str, findings: Findings) -> str:
        # Looking for a near name costs more than all else here; a client with twenty misspelt names has seen enough.
        known = self._known if findings.total <= _SUGGESTIONS_MAX else ()
        return f"unknown feature '{shortened(name)}'{nearest(name[:100], known)}"


def compile_spec(spec: FeatureSpec, rates: Rates | None = None) -> Compiled:
    """Prepares a spec for `vectorize`; `rates` is what its currency features convert with.

    Errors: SpecProblem when a currency has no rate, or an image no Pillow.
    """
    return Compiled(spec, _blocks(spec, rates))


def _blocks(spec: FeatureSpec, rates: Rates | None) -> list[Block]:
    """One block for all floats, one for all ints, one for each other feature."""
    dtype = spec.input.dtype
    blocks: list[Block] = []
    floats: list[tuple[FloatFeature, int]] = []
    ints: list[tuple[IntFeature, int]] = []
    column = 0
    for feature in spec.features:
        match feature:
            case FloatFeature():
                floats.append((feature, column))
            case IntFeature():
                ints.append((feature, column))
            case VectorFeature():
                columns = slice(column, column + feature.length)
                blocks.append(NumberBlock(VectorSource(feature), [feature] * feature.length, columns, [], dtype))
            case CategoryFeature():
                blocks.append(CategoryBlock(feature, column))
            case BoolFeature():
                blocks.append(BoolBlock(feature, column))
            case StringFeature():
                blocks.append(StringBlock(feature, column))
            case ImageFeature():
                blocks.append(ImageBlock(feature))
            case _:
                assert_never(feature)
        column += feature.width
    money = _money([feature for feature, _ in floats], rates)
    if floats:
        blocks.append(_scalars(floats, money, dtype))
    if ints:
        blocks.append(_scalars(ints, [], dtype))
    return blocks


def _scalars(
    placed: Sequence[tuple[FloatFeature | IntFeature, int]], money: Sequence[Money], dtype: str
) -> NumberBlock:
    features = [feature for feature, _ in placed]
    reader = Reader([feature.name for feature in features], [feature.default for feature in features])
    return NumberBlock(reader, list(features), _columns([column for _, column in placed]), money, dtype)


def _columns(columns: Sequence[int]) -> slice | Array:
    """Neighbours as a slice, which numpy writes twice as fast as scattered columns."""
    first, last = columns[0], columns[-1]
    return slice(first, last + 1) if last - first + 1 == len(columns) else np.array(columns, dtype=np.intp)


def _money(features: Sequence[FloatFeature], rates: Rates | None) -> list[Money]:
    money = []
    for column, feature in enumerate(features):
        if feature.currency is None:
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
        money.append(Money(column=column, feature=feature.name, currency=feature.currency, rates=rates))
    return money


def _check_objects(records: Sequence[object], findings: Findings) -> None:
    for index, record in enumerate(records):
        if not isinstance(record, Mapping):
            findings.add(index, "", f"expected an object, got {kind_name(record)}")
    findings.raise_if_any()
