"""Whether features can fill a tensor: its type, what its type holds, its columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

from gateway.spec.code import CodeFeature
from gateway.spec.features import Feature
from gateway.spec.images import ImageFeature
from gateway.spec.lists import CategoryItems, ListFeature, NumberItems
from gateway.spec.numbers import DifferenceFeature, FloatFeature, IntFeature, RatioFeature, Transformed, VectorFeature
from gateway.spec.timestamps import WHOLE, TimestampFeature
from gateway.spec.words import BoolFeature, CategoryFeature, CrossFeature, StringFeature

EXACT_MAX = {"float16": 2048, "float32": 1 << 24, "int8": 127, "uint8": 255, "int16": 32767, "uint16": 65535}
"""The whole number up to which a type holds every whole number, for the types in which that can matter."""

_LARGEST_PART = {"year": 9999, "day_of_year": 366, "epoch": 1 << 24, "elapsed": 1 << 24, "age": 1 << 24}
"""What parts of a moment reach that float16 or the small integers may not hold. float32 holds all seconds, rounded."""


class Filled(Protocol):
    """A tensor and the features that fill it."""

    @property
    def path(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> Sequence[int]: ...
    @property
    def features(self) -> Sequence[Feature]: ...


def tensor_problems(tensor: Filled) -> Iterator[str]:
    """Everything that does not fit, one problem a feature, then the number of columns."""
    features = tensor.features
    if len(features) > 1 and any(isinstance(feature, ImageFeature) for feature in features):
        yield "an image fills the whole input tensor; it cannot stand beside other features"
        return
    for feature in features:
        yield from islice(_feature_problems(feature, tensor), 1)
    yield from _width_problems(tensor)


def _feature_problems(feature: Feature, tensor: Filled) -> Iterator[str]:
    dtype = tensor.dtype
    if isinstance(feature, StringFeature) != (dtype == "string"):
        yield (
            f"feature '{feature.name}' of type {feature.__struct_config__.tag} cannot fill a {dtype} tensor"
            + ("; give it type category" if isinstance(feature, StringFeature) else "")
        )
    if dtype == "bool" and not isinstance(feature, BoolFeature):
        yield f"feature '{feature.name}': a bool tensor takes features of type bool only"
    yield from _capacity_problems(feature, dtype)
    if isinstance(feature, ListFeature) and not _holds(dtype, feature.pad):
        yield f"feature '{feature.name}': pad {feature.pad:g} does not fit {dtype}"
    if dtype.startswith(("int", "uint")) and not whole(feature):
        yield (
            f"feature '{feature.name}' gives fractions and {tensor.path}.dtype is {dtype}; "
            "use float32 or drop the transform"
        )


def _holds(dtype: str, value: float) -> bool:
    """Whether a type has room for a number, fractions aside."""
    if dtype in ("bool", "string"):
        return True
    if dtype.startswith("float"):
        return abs(value) <= {"float16": 65504.0, "float32": 3.4e38}.get(dtype, math.inf)
    bits = int(dtype.lstrip("uint"))
    low, high = (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return bool(low <= value <= high)


def whole(feature: Feature) -> bool:
    """Whether a feature gives whole numbers only."""
    match feature:
        case FloatFeature() | VectorFeature() | RatioFeature() | DifferenceFeature():
            return feature.bucketize is not None
        case IntFeature():
            return _keeps_whole(feature)
        case TimestampFeature():
            return feature.bucketize is not None or (WHOLE.issuperset(feature.parts) and _keeps_whole(feature))
        case ListFeature(items=NumberItems() as items):
            return items.bucketize is not None and feature.pad.is_integer()
        case ListFeature():
            return feature.pad.is_integer()
        case ImageFeature():
            return feature.image.whole
        case CodeFeature():
            return False
        case _:
            return True


def _keeps_whole(number: Transformed) -> bool:
    bounds = (number.clip.min, number.clip.max) if number.clip else ()
    return not number.fractional and all(bound is None or bound.is_integer() for bound in bounds)


def _capacity_problems(feature: Feature, dtype: str) -> Iterator[str]:
    """Numbers of words and pixels must be exact in the tensor's type."""
    largest = 0
    match feature:
        case CategoryFeature():
            largest = feature.largest
        case ListFeature(items=CategoryItems() as items):
            largest = items.largest
        case CrossFeature(encoding="index"):
            largest = feature.buckets - 1
        case TimestampFeature() if len(feature.parts) > 1:  # the transforms of a single part check its numbers
            largest = max((_LARGEST_PART.get(part, 0) for part in feature.parts), default=0)
        case ImageFeature() if not dtype.startswith("float"):
            largest = 255
        case _:
            pass
    if largest > EXACT_MAX.get(dtype, largest):
        yield f"feature '{feature.name}' gives numbers up to {largest}, {dtype} holds {EXACT_MAX[dtype]}"


def _width_problems(tensor: Filled) -> Iterator[str]:
    row, features = tuple(tensor.shape[1:]), tensor.features
    shape = list(tensor.shape)
    if isinstance(features[0], ImageFeature):
        size = features[0].image
        layouts = [(size.height, size.width, size.channels), (features[0].width,)]
        if size.channels == 1:
            layouts.append((size.height, size.width))
        if row not in layouts:
            wanted = " or ".join(str([-1, *layout]) for layout in layouts)
            yield f"{tensor.path}.shape {shape} does not take the image; it must be {wanted}"
        return
    width = sum(feature.width for feature in features)
    if math.prod(row) != width:
        widths = ", ".join(f"{feature.name} {feature.width}" for feature in features[:12])
        more = ", …" if len(features) > 12 else ""
        yield f"{tensor.path}.shape {shape} has {math.prod(row)} columns, the features fill {width} ({widths}{more})"
