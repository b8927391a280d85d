"""The features of a record, one struct per type, so that a key that a type does not have is an unknown key."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from msgspec import Meta

from gateway.spec.base import Name, Section, finite, ordered, unique


class Normalize(Section, frozen=True, kw_only=True):
    """(value - mean) / std, with the statistics of the training data."""

    mean: float
    std: float

    def __post_init__(self) -> None:
        finite(mean=self.mean, std=self.std)
        if self.std <= 0:
            raise ValueError(f"std {self.std:g} must be above 0; leave a constant feature without normalize")


class MinMax(Section, frozen=True, kw_only=True):
    """(value - min) / (max - min): the range of the training data becomes 0 to 1. Values outside are not refused."""

    min: float
    max: float

    def __post_init__(self) -> None:
        ordered("min", self.min, "max", self.max, strict=True)


class Clip(Section, frozen=True, kw_only=True):
    """Values below `min` become `min`, values above `max` become `max`."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("clip needs min, max or both")
        ordered("min", self.min, "max", self.max)


class Currency(Section, frozen=True, kw_only=True):
    """An amount of money: `field` of the record names its currency, which is converted into `to`.

    `default` is the currency of records without that field; without it they are refused.
    """

    field: Name
    to: Name
    default: Name | None = None


class ImageSize(Section, frozen=True, kw_only=True):
    """The picture that the model takes: height x width x channels (1 grey, 3 RGB, 4 RGBA).

    Pixels are 0 to 255; the tensor gets pixel * scale + offset. `resize: none` refuses pictures of another size.
    """

    width: Annotated[int, Meta(ge=1, le=8192)]
    height: Annotated[int, Meta(ge=1, le=8192)]
    channels: Literal[1, 3, 4] = 3
    resize: Literal["none", "nearest", "bilinear", "bicubic"] = "bilinear"
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        finite(scale=self.scale, offset=self.offset)
        if self.scale == 0:
            raise ValueError("scale 0 would make every pixel the same")


class _Feature(Section, frozen=True, kw_only=True, tag_field="type"):
    """What every feature has: its name in the record, and whether a record may leave it out (only with a default)."""

    name: Name
    required: bool | None = None

    @property
    def width(self) -> int:
        """Columns of the input tensor that the feature fills."""
        return 1

    def _check_presence(self, default: object) -> None:
        if self.required and default is not None:
            raise ValueError(f"feature '{self.name}': required together with default; keep one of the two")
        if self.required is False and default is None:
            raise ValueError(f"feature '{self.name}': required false needs a default for records without it")


class _Number(_Feature, frozen=True, kw_only=True):
    """Keys of everything numeric, applied in this order: min and max, clip, log1p, normalize or min_max."""

    min: float | None = None
    max: float | None = None
    clip: Clip | None = None
    log1p: bool = False
    normalize: Normalize | None = None
    min_max: MinMax | None = None

    @property
    def fractional(self) -> bool:
        """Whether a transform can turn whole numbers into fractions."""
        return self.log1p or self.normalize is not None or self.min_max is not None

    def _check_number(self) -> None:
        who = f"feature '{self.name}'"
        ordered("min", self.min, "max", self.max, who=f"{who}: ")
        if self.normalize and self.min_max:
            raise ValueError(f"{who}: normalize and min_max exclude each other; keep one of the two")
        floors = (self.min, self.clip.min if self.clip else None)
        floor = max((value for value in floors if value is not None), default=-math.inf)
        if self.log1p and floor <= -1:
            raise ValueError(f"{who}: log1p needs values above -1; state min or clip.min")

    def _check_default(self, default: float | None) -> None:
        if default is None:
            return
        finite(default=default)
        if self.min is not None and default < self.min:
            raise ValueError(f"feature '{self.name}': default {default:g} is below min {self.min:g}")
        if self.max is not None and default > self.max:
            raise ValueError(f"feature '{self.name}': default {default:g} is above max {self.max:g}")


class FloatFeature(_Number, frozen=True, kw_only=True, tag="float"):
    """A number. With `currency`, min, max and default are amounts of money in the currency `to`."""

    default: float | None = None
    currency: Currency | None = None

    def __post_init__(self) -> None:
        self._check_presence(self.default)
        self._check_number()
        self._check_default(self.default)
        if self.currency and self.currency.field == self.name:
            raise ValueError(f"feature '{self.name}': currency.field must name another field of the record")


class IntFeature(_Number, frozen=True, kw_only=True, tag="int"):
    """A whole number within int64."""

    default: int | None = None

    def __post_init__(self) -> None:
        self._check_presence(self.default)
        self._check_number()
        self._check_default(self.default)


class BoolFeature(_Feature, frozen=True, kw_only=True, tag="bool"):
    """true or false, as 1 or 0."""

    default: bool | None = None

    def __post_init__(self) -> None:
        self._check_presence(self.default)


class CategoryFeature(_Feature, frozen=True, kw_only=True, tag="category"):
    """One of a set of words: one column per word (one_hot), its position (index), or a hash of any word (hash_bucket).

    `unknown` says what becomes of a word outside the vocabulary: a word of it stands in, or `error` (also without it).
    """

    vocabulary: list[str] | None = None
    encoding: Literal["one_hot", "index", "hash_bucket"] = "one_hot"
    buckets: Annotated[int, Meta(ge=2, le=2**31 - 1)] | None = None
    unknown: str | None = None
    default: str | None = None

    @property
    def width(self) -> int:
        return len(self.vocabulary or ()) if self.encoding == "one_hot" else 1

    @property
    def stand_in(self) -> str | None:
        """The word that stands in for unknown ones; None when they are refused."""
        return None if self.unknown == "error" else self.unknown

    def __post_init__(self) -> None:
        self._check_presence(self.default)
        who = f"feature '{self.name}'"
        if self.encoding == "hash_bucket":
            if self.buckets is None:
                raise ValueError(f"{who}: encoding hash_bucket needs buckets")
            if self.vocabulary is not None or self.unknown is not None:
                raise ValueError(f"{who}: encoding hash_bucket takes any word; vocabulary and unknown do not apply")
            return
        if self.buckets is not None:
            raise ValueError(f"{who}: buckets belongs to encoding hash_bucket, not {self.encoding}")
        if not self.vocabulary:
            raise ValueError(f"{who}: encoding {self.encoding} needs a vocabulary that is not empty")
        unique(self.vocabulary, f"{who}: vocabulary")
        if self.unknown == "error" and "error" in self.vocabulary:
            raise ValueError(f"{who}: unknown 'error' is ambiguous, the vocabulary has that word; leave unknown out")
        for key, word in (("unknown", self.stand_in), ("default", self.default)):
            if word is not None and word not in self.vocabulary:
                raise ValueError(f"{who}: {key} '{word}' is not in the vocabulary")


class StringFeature(_Feature, frozen=True, kw_only=True, tag="string"):
    """Text that the model itself takes apart: an element of a string tensor, UTF-8."""

    default: str | None = None

    def __post_init__(self) -> None:
        self._check_presence(self.default)


class VectorFeature(_Number, frozen=True, kw_only=True, tag="vector"):
    """A list of `length` numbers; the transforms apply to each."""

    length: Annotated[int, Meta(ge=1, le=1_000_000)]
    default: list[float] | None = None

    @property
    def width(self) -> int:
        return self.length

    def __post_init__(self) -> None:
        self._check_presence(self.default)
        self._check_number()
        if self.default is not None and len(self.default) != self.length:
            raise ValueError(f"feature '{self.name}': default has {len(self.default)} numbers, length is {self.length}")
        for value in self.default or ():
            self._check_default(value)


class ImageFeature(_Feature, frozen=True, kw_only=True, tag="image"):
    """A PNG or JPEG as base64 text."""

    image: ImageSize

    @property
    def width(self) -> int:
        return self.image.height * self.image.width * self.image.channels

    def __post_init__(self) -> None:
        if self.required is False:
            raise ValueError(f"feature '{self.name}': an image has no default, so it cannot be left out")


Feature = FloatFeature | IntFeature | BoolFeature | CategoryFeature | StringFeature | VectorFeature | ImageFeature
