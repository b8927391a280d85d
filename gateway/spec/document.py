"""The whole of features.yaml: features, input and output, and whether they fit each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import yaml
from msgspec import Meta

from gateway.spec.base import Name, Section, SpecProblem, unique
from gateway.spec.features import (
    BoolFeature,
    CategoryFeature,
    Feature,
    FloatFeature,
    ImageFeature,
    IntFeature,
    StringFeature,
    VectorFeature,
)
from gateway.spec.outputs import Output
from gateway.spec.strict import StrictError, convert
from gateway.spec.text import load

Dtype = Literal[
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "bool", "string",
]  # fmt: skip


_EXACT_MAX = {"float16": 2048, "float32": 1 << 24, "int8": 127, "uint8": 255, "int16": 32767, "uint16": 65535}
"""The whole number up to which a type holds every whole number, for the types in which that can matter."""


class Input(Section, frozen=True, kw_only=True):
    """The input tensor of the signature; dimension 0 counts the records (-1)."""

    name: Name
    dtype: Dtype
    shape: list[int]

    def __post_init__(self) -> None:
        if not self.shape or self.shape[0] != -1:
            raise ValueError(f"shape {self.shape} must begin with -1, the number of records")
        if any(size < 1 for size in self.shape[1:]):
            raise ValueError(f"shape {self.shape}: only the first dimension may be unknown")


class FeatureSpec(Section, frozen=True, kw_only=True):
    """features.yaml: the features in the order of the columns, the input tensor they fill, the output they get."""

    features: Annotated[list[Feature], Meta(min_length=1)]
    input: Input
    output: Output

    def __post_init__(self) -> None:
        unique([feature.name for feature in self.features], "features: names")
        _check_currency_fields(self.features)
        _check_mixture(self.features, self.input)
        _check_width(self.features, self.input)


def parse_spec(text: str | bytes) -> FeatureSpec:
    """The spec in a features.yaml. Errors: SpecProblem that names the path, and the nearest key to an unknown one."""
    try:
        data = load(text)
    except yaml.YAMLError as error:
        raise SpecProblem("", f"not valid YAML: {error}") from error
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


def _check_currency_fields(features: Sequence[Feature]) -> None:
    by_name = {feature.name: feature for feature in features}
    for feature in features:
        if isinstance(feature, FloatFeature) and feature.currency:
            other = by_name.get(feature.currency.field)
            if other is not None and not isinstance(other, CategoryFeature):
                raise ValueError(
                    f"feature '{feature.name}': currency.field '{other.name}' is also a feature, and not a category"
                )


def _check_mixture(features: Sequence[Feature], input_: Input) -> None:
    if len(features) > 1 and any(isinstance(feature, ImageFeature) for feature in features):
        raise ValueError("an image fills the whole input tensor; it cannot stand beside other features")
    for feature in features:
        if isinstance(feature, StringFeature) != (input_.dtype == "string"):
            raise ValueError(
                f"feature '{feature.name}' of type {feature.__struct_config__.tag} cannot fill a {input_.dtype} tensor"
                + ("; give it type category" if isinstance(feature, StringFeature) else "")
            )
        if input_.dtype == "bool" and not isinstance(feature, BoolFeature):
            raise ValueError(f"feature '{feature.name}': a bool tensor takes features of type bool only")
        _check_capacity(feature, input_.dtype)
        if input_.dtype.startswith(("int", "uint")) and not _whole(feature):
            raise ValueError(
                f"feature '{feature.name}' gives fractions and input.dtype is {input_.dtype}; "
                "use float32 or drop the transform"
            )


def _check_capacity(feature: Feature, dtype: str) -> None:
    """Numbers of words and pixels must be exact in the tensor's type."""
    largest = 0
    if isinstance(feature, CategoryFeature) and feature.encoding != "one_hot":
        largest = (feature.buckets or len(feature.vocabulary or ())) - 1
    elif isinstance(feature, ImageFeature) and not dtype.startswith("float"):
        largest = 255
    if largest > _EXACT_MAX.get(dtype, largest):
        raise ValueError(f"feature '{feature.name}' gives numbers up to {largest}, {dtype} holds {_EXACT_MAX[dtype]}")


def _whole(feature: Feature) -> bool:
    if isinstance(feature, FloatFeature | VectorFeature):
        return False
    if isinstance(feature, IntFeature):
        bounds = (feature.clip.min, feature.clip.max) if feature.clip else ()
        return not feature.fractional and all(bound is None or bound.is_integer() for bound in bounds)
    if isinstance(feature, ImageFeature):
        return feature.image.scale == 1 and feature.image.offset == 0
    return True


def _check_width(features: Sequence[Feature], input_: Input) -> None:
    row = tuple(input_.shape[1:])
    if isinstance(features[0], ImageFeature):
        size = features[0].image
        layouts = [(size.height, size.width, size.channels), (features[0].width,)]
        if size.channels == 1:
            layouts.append((size.height, size.width))
        if row not in layouts:
            wanted = " or ".join(str([-1, *layout]) for layout in layouts)
            raise ValueError(f"input.shape {input_.shape} does not take the image; it must be {wanted}")
        return
    width = sum(feature.width for feature in features)
    if math.prod(row) != width:
        widths = ", ".join(f"{feature.name} {feature.width}" for feature in features[:12])
        more = ", …" if len(features) > 12 else ""
        raise ValueError(
            f"input.shape {input_.shape} has {math.prod(row)} columns, the features fill {width} ({widths}{more})"
        )
