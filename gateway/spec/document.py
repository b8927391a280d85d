"""The whole of features.yaml: features, inputs and output, and whether they fit each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Protocol

import msgspec
import yaml
from msgspec import Meta

from gateway.spec.base import Name, Section, SpecProblem, unique
from gateway.spec.features import Feature
from gateway.spec.fit import tensor_problems
from gateway.spec.lists import ListFeature
from gateway.spec.lookup import Lookup
from gateway.spec.numbers import FloatFeature
from gateway.spec.outputs import Output
from gateway.spec.reading.places import yaml_problem
from gateway.spec.reading.strict import StrictError, convert, nearest
from gateway.spec.reading.text import load
from gateway.spec.statistics import Statistics
from gateway.spec.words import CategoryFeature, Vocabulary

Dtype = Literal[
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "bool", "string",
]  # fmt: skip


class Input(Section, frozen=True, kw_only=True):
    """The only input tensor that is filled, by all features; dimension 0 counts the records (-1)."""

    name: Name
    dtype: Dtype
    shape: list[int]

    def __post_init__(self) -> None:
        _check_shape(self.shape)


class NamedInput(Section, frozen=True, kw_only=True):
    """One of several input tensors, and the features that fill it, in the order of its columns."""

    dtype: Dtype
    shape: list[int]
    features: Annotated[list[Name], Meta(min_length=1)]

    def __post_init__(self) -> None:
        _check_shape(self.shape)
        unique(self.features, "features of an input")


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor that a spec fills; `path` is where the spec describes it."""

    path: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    features: tuple[Feature, ...]

    @cached_property
    def width(self) -> int:
        """Columns of a row, however the shape folds them."""
        return sum(feature.width for feature in self.features)


class FeatureSpec(Section, frozen=True, kw_only=True):
    """features.yaml: the features of a record, the input tensors that they fill, the output that is interpreted.

    `pass_through` names further outputs that a response carries as they are. `ignore` names keys of a record that are
    left alone; with `extra: ignore` all unknown keys are. `statistics` is what training saw, and what live records are
    compared with.
    """

    features: Annotated[list[Feature], Meta(min_length=1)]
    input: Input | None = None
    inputs: dict[Name, NamedInput] | None = None
    output: Output
    pass_through: tuple[Name, ...] = ()
    lookup: Lookup | None = None
    ignore: tuple[Name, ...] = ()
    extra: Literal["error", "ignore"] = "error"
    statistics: Statistics | None = None

    def __post_init__(self) -> None:
        for problem in contradictions(self):
            raise ValueError(problem)

    def tensors(self) -> list[Tensor]:
        """What is filled, in the order of the file."""
        return tensors_of(self)

    @property
    def currencies(self) -> dict[str, str]:
        """The currency that each feature of money is converted into, by the names of the features."""
        return {f.name: f.currency.to for f in self.features if isinstance(f, FloatFeature) and f.currency is not None}

    @property
    def vocabularies(self) -> dict[str, Vocabulary]:
        """The words of features whose vocabulary is in a file, by the names of the features."""
        found: dict[str, Vocabulary] = {}
        for feature in self.features:
            words = feature.items if isinstance(feature, ListFeature) else feature
            if isinstance(words, Vocabulary) and words.vocabulary_file is not None:
                found[feature.name] = words
        return found

    @property
    def keys(self) -> frozenset[str]:
        """Every key of a record that a feature reads."""
        return frozenset(key for feature in self.features for key in feature.keys)


def parse_spec(text: str | bytes) -> FeatureSpec:
    """The spec in a features.yaml. Errors: SpecProblem that names the path, and the nearest key to an unknown one."""
    try:
        data = load(text)
    except yaml.YAMLError as error:
        raise SpecProblem("", f"not valid YAML: {yaml_problem(error)}") from error
    return read_spec(data)


def read_spec(data: object) -> FeatureSpec:
    """The spec in data that is decoded already, as it stands inside the gateway's config. Errors: SpecProblem."""
    try:
        return convert(data, FeatureSpec)
    except StrictError as error:
        raise SpecProblem(error.path, error.what) from error


def dump_spec(spec: FeatureSpec) -> dict[str, object]:
    """The spec as plain data that `read_spec` takes, without keys that stand at their default."""
    data = msgspec.to_builtins(spec)
    assert isinstance(data, dict)
    return data


def _check_shape(shape: Sequence[int]) -> None:
    if not shape or shape[0] != -1:
        raise ValueError(f"shape {list(shape)} must begin with -1, the number of records")
    if any(size < 1 for size in shape[1:]):
        raise ValueError(f"shape {list(shape)}: only the first dimension may be unknown")


class Parts(Protocol):
    """What a spec consists of, each part valid in itself."""

    @property
    def features(self) -> Sequence[Feature]: ...
    @property
    def input(self) -> Input | None: ...
    @property
    def inputs(self) -> Mapping[str, NamedInput] | None: ...
    @property
    def output(self) -> Output | None: ...
    @property
    def pass_through(self) -> Sequence[str]: ...
    @property
    def lookup(self) -> Lookup | None: ...
    @property
    def ignore(self) -> Sequence[str]: ...


def contradictions(spec: Parts) -> Iterator[str]:
    """Everything in which the parts of a spec contradict each other."""
    names = [feature.name for feature in spec.features]
    yield from _repeated(names, "features: names")
    if (spec.input is None) == (spec.inputs is None):
        yield "exactly one of input and inputs is needed"
        return
    yield from _repeated(spec.ignore, "ignore:")
    read = {key for feature in spec.features for key in feature.keys}
    yield from (f"ignore: '{name}' is read by a feature" for name in spec.ignore if name in read)
    if spec.lookup is not None:
        yield from _lookup_contradictions(spec.lookup, spec.features)
    if spec.output is not None:
        yield from _repeated([spec.output.name, *spec.pass_through], "output.name and pass_through:")
    yield from _currency_contradictions(spec.features)
    problems = list(_name_contradictions(names, spec.inputs or {}))
    yield from problems
    if not problems:
        for tensor in tensors_of(spec):
            yield from tensor_problems(tensor)


def tensors_of(spec: Parts) -> list[Tensor]:
    """What a spec fills, in the order of the file."""
    if spec.input is not None:
        one = spec.input
        features = tuple(spec.features)
        return [Tensor(path="input", name=one.name, dtype=one.dtype, shape=tuple(one.shape), features=features)]
    by_name = {feature.name: feature for feature in spec.features}
    return [
        Tensor(
            path=f"inputs.{name}",
            name=name,
            dtype=named.dtype,
            shape=tuple(named.shape),
            features=tuple(by_name[feature] for feature in named.features),
        )
        for name, named in (spec.inputs or {}).items()
    ]


def _repeated(words: Sequence[str], what: str) -> Iterator[str]:
    try:
        unique(words, what)
    except ValueError as error:
        yield str(error)


def _lookup_contradictions(lookup: Lookup, features: Sequence[Feature]) -> Iterator[str]:
    readers = {key: feature for feature in features for key in feature.keys}
    for key in lookup.features:
        if key not in readers:
            yield f"lookup.features: no feature reads '{key}'{nearest(key, readers)}"
        elif lookup.on_miss == "default" and not readers[key].optional:
            yield f"feature '{readers[key].name}' is looked up with on_miss default, so it needs default or missing"


def _name_contradictions(known: Sequence[str], inputs: Mapping[str, NamedInput]) -> Iterator[str]:
    if not inputs:
        return
    used = {name for one in inputs.values() for name in one.features}
    for input_, one in inputs.items():
        for name in one.features:
            if name not in known:
                yield f"inputs.{input_}: there is no feature '{name}'{nearest(name, known)}"
    for name in known:
        if name not in used:
            yield f"feature '{name}' fills no input; name it in one, or leave it out"


def _currency_contradictions(features: Sequence[Feature]) -> Iterator[str]:
    by_key = {feature.key: feature for feature in features}
    for feature in features:
        if isinstance(feature, FloatFeature) and feature.currency:
            other = by_key.get(feature.currency.field)
            if other is not None and not isinstance(other, CategoryFeature):
                yield f"feature '{feature.name}': currency.field '{other.name}' is also a feature, and not a category"
