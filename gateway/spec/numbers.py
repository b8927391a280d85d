"""Features that are numbers, and what may be done to them before they stand in a tensor."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from msgspec import Meta

from gateway.spec.base import Described, Name, Section, finite, ordered


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


class Bucketize(Section, frozen=True, kw_only=True):
    """The number of boundaries that are not above the value: one column with it (index), or one per bucket (one_hot).

    Keras' Discretization layer counts in the same way.
    """

    boundaries: Annotated[list[float], Meta(min_length=1, max_length=10_000)]
    encoding: Literal["index", "one_hot"] = "one_hot"

    def __post_init__(self) -> None:
        for low, high in zip(self.boundaries, self.boundaries[1:], strict=False):
            ordered("boundaries:", low, "the next one,", high, strict=True)
        finite(boundaries=self.boundaries[-1])

    @property
    def columns(self) -> int:
        """Columns of the tensor."""
        return len(self.boundaries) + 1 if self.encoding == "one_hot" else 1


class NumberMissing(Section, frozen=True, kw_only=True):
    """null, or no key. `value`, or the mean of `normalize`, stands in; with `flag` alone the columns are 0.

    `flag` adds a column that is 1 where the value was missing, after the columns of the feature.
    """

    value: float | None = None
    mean: bool = False
    flag: bool = False

    def __post_init__(self) -> None:
        if self.value is not None:
            finite(value=self.value)
        if self.value is not None and self.mean:
            raise ValueError("missing: value and mean exclude each other; keep one of the two")
        if self.value is None and not self.mean and not self.flag:
            raise ValueError("missing needs value, mean or flag")


class Currency(Section, frozen=True, kw_only=True):
    """An amount of money: `field` of the record names its currency, which is converted into `to`.

    `default` is the currency of records without that field; without it they are refused.
    """

    field: Name
    to: Name
    default: Name | None = None


class Transformed(Section, frozen=True, kw_only=True):
    """Keys of everything numeric, applied in this order: min and max, clip, one of log1p, log, sqrt and power, then
    one of normalize, min_max and bucketize."""

    min: float | None = None
    max: float | None = None
    clip: Clip | None = None
    log1p: bool = False
    log: bool = False
    sqrt: bool = False
    power: float | None = None
    normalize: Normalize | None = None
    min_max: MinMax | None = None
    bucketize: Bucketize | None = None

    @property
    def curve(self) -> str | None:
        """Which of log1p, log, sqrt and power is applied."""
        return next((key for key in ("log1p", "log", "sqrt") if getattr(self, key)), "power" if self.power else None)

    @property
    def fractional(self) -> bool:
        """Whether a transform can turn whole numbers into fractions."""
        if self.bucketize is not None:
            return False
        return self.curve is not None or self.normalize is not None or self.min_max is not None

    @property
    def floor(self) -> float:
        """No value that reaches the curve is below."""
        floors = (self.min, self.clip.min if self.clip else None)
        return max((value for value in floors if value is not None), default=-math.inf)

    @property
    def placeholder(self) -> float:
        """A value that every bound and transform takes."""
        return next(
            (value for value in (self.min, self.max, self.clip.min if self.clip else None) if value is not None), 0.0
        )

    def check_transforms(self, who: str) -> None:
        """That the keys do not contradict each other. Errors: ValueError that begins with `who`."""
        ordered("min", self.min, "max", self.max, who=f"{who}: ")
        last = [key for key in ("normalize", "min_max", "bucketize") if getattr(self, key) is not None]
        if len(last) > 1:
            raise ValueError(f"{who}: {last[0]} and {last[1]} exclude each other; keep one of the two")
        curves = [key for key in ("log1p", "log", "sqrt") if getattr(self, key)]
        curves += ["power"] if self.power is not None else []
        if len(curves) > 1:
            raise ValueError(f"{who}: {curves[0]} and {curves[1]} exclude each other; keep one of the two")
        if self.power is not None:
            finite(power=self.power)
            if self.power == 0:
                raise ValueError(f"{who}: power 0 would make every value 1")
        _check_floor(self, who)

    def check_value(self, value: float | None, what: str, who: str) -> None:
        """That a value that stands in is finite and within the bounds. Errors: ValueError."""
        if value is None:
            return
        finite(**{what: value})
        if self.min is not None and value < self.min:
            raise ValueError(f"{who}: {what} {value:g} is below min {self.min:g}")
        if self.max is not None and value > self.max:
            raise ValueError(f"{who}: {what} {value:g} is above max {self.max:g}")


def _check_floor(number: Transformed, who: str) -> None:
    floor = number.floor
    if number.log1p and floor <= -1:
        raise ValueError(f"{who}: log1p needs values above -1; state min or clip.min")
    above = number.log or (number.power is not None and number.power < 0)
    if above and floor <= 0:
        raise ValueError(f"{who}: {number.curve} needs values above 0; state min or clip.min")
    if (number.sqrt or number.power is not None) and floor < 0:
        raise ValueError(f"{who}: {number.curve} needs values of at least 0; state min or clip.min")


class NumberBase(Transformed, Described, frozen=True, kw_only=True, tag_field="type"):
    """What every feature that is a number has: the keys of `FeatureBase`, the transforms, and `missing`."""

    name: Name
    field: Name | None = None
    required: bool | None = None
    missing: NumberMissing | None = None

    @property
    def columns(self) -> int:
        return self.bucketize.columns if self.bucketize else 1

    @property
    def stand_in(self) -> float | None:
        """What stands in for a missing value, before the transforms; None with `flag` alone, or without `missing`."""
        if self.missing is None:
            return None
        if self.missing.mean and self.normalize:
            return self.normalize.mean
        return self.missing.value

    def check_number(self, default: float | None) -> None:
        """Everything that the keys of a number may contradict. Errors: ValueError."""
        who = f"feature '{self.name}'"
        self.check_presence(default, self.missing)
        self.check_transforms(who)
        self.check_value(default, "default", who)
        if self.missing is not None and self.missing.mean and (self.normalize is None or self.curve is not None):
            raise ValueError(f"{who}: missing.mean is the mean of normalize, which needs to be there without a curve")
        self.check_value(self.stand_in, "missing.value", who)


class FloatFeature(NumberBase, frozen=True, kw_only=True, tag="float"):
    """A number. With `currency`, min, max, default and missing.value are amounts of money in the currency `to`."""

    default: float | None = None
    currency: Currency | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key, self.currency.field) if self.currency else (self.key,)

    def __post_init__(self) -> None:
        self.check_number(self.default)
        if self.currency and self.currency.field == self.key:
            raise ValueError(f"feature '{self.name}': currency.field must name another field of the record")


class IntFeature(NumberBase, frozen=True, kw_only=True, tag="int"):
    """A whole number within int64."""

    default: int | None = None

    @property
    def placeholder(self) -> float:
        return math.ceil(self.min) if self.min is not None else math.floor(super().placeholder)

    def __post_init__(self) -> None:
        self.check_number(self.default)
        if self.stand_in is not None and not self.stand_in.is_integer() and not self.fractional:
            raise ValueError(f"feature '{self.name}': missing.value {self.stand_in:g} is not a whole number")


class VectorFeature(NumberBase, frozen=True, kw_only=True, tag="vector"):
    """A list of `length` numbers; the transforms apply to each."""

    length: Annotated[int, Meta(ge=1, le=1_000_000)]
    default: list[float] | None = None

    @property
    def columns(self) -> int:
        return self.length * (self.bucketize.columns if self.bucketize else 1)

    def __post_init__(self) -> None:
        self.check_presence(self.default, self.missing)
        self.check_number(None)
        if self.default is not None and len(self.default) != self.length:
            raise ValueError(f"feature '{self.name}': default has {len(self.default)} numbers, length is {self.length}")
        for value in self.default or ():
            self.check_value(value, "default", f"feature '{self.name}'")


class _Pair(NumberBase, frozen=True, kw_only=True):
    """A number that is made of two fields of the record, which are named by `of`; transforms apply to the result."""

    of: Annotated[list[Name], Meta(min_length=2, max_length=2)]
    default: float | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.of)

    def check_pair(self) -> None:
        """Errors: ValueError."""
        self.check_number(self.default)
        if self.field is not None:
            raise ValueError(f"feature '{self.name}': 'of' names the fields, field does not apply")


class RatioFeature(_Pair, frozen=True, kw_only=True, tag="ratio"):
    """The first field divided by the second. `zero` is the result where the second is 0; without it that is refused."""

    zero: float | None = None

    def __post_init__(self) -> None:
        self.check_pair()
        self.check_value(self.zero, "zero", f"feature '{self.name}'")


class DifferenceFeature(_Pair, frozen=True, kw_only=True, tag="difference"):
    """The first field minus the second."""

    def __post_init__(self) -> None:
        self.check_pair()
