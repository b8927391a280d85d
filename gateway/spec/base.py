"""What the sections of a feature spec share: strictness, small types, and checks whose errors are sentences."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

Positive = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Package = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.+!-]+$", max_length=200)]
"""A Python package and its version: NAME==VERSION."""


class SpecProblem(ValueError):
    """A feature spec that contradicts its schema, itself or a signature. `path` names the value, `what` the fault."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}" if path else what)
        self.path = path
        self.what = what


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What every section has in common: immutable, and a key that nobody knows is an error."""


class Described:
    """What can be asked of every feature; its keys are those of `FeatureBase`."""

    __slots__ = ()
    if TYPE_CHECKING:

        @property
        def name(self) -> str: ...
        @property
        def field(self) -> str | None: ...
        @property
        def required(self) -> bool | None: ...

    @property
    def key(self) -> str:
        """The key of the record that holds the value."""
        return self.field or self.name

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key of the record that the feature reads."""
        return (self.key,)

    @property
    def columns(self) -> int:
        """Columns of the input tensor that the value fills."""
        return 1

    @property
    def flag(self) -> bool:
        """Whether one more column says that the value was missing."""
        missing = getattr(self, "missing", None)
        return missing is not None and bool(missing.flag)

    @property
    def width(self) -> int:
        """Columns of the input tensor that the feature fills, the flag among them."""
        return self.columns + self.flag

    @property
    def optional(self) -> bool:
        """Whether a record may leave the key out."""
        if getattr(self, "default", None) is not None:
            return True
        return getattr(self, "missing", None) is not None and not self.required

    def check_presence(self, default: object, missing: object = None) -> None:
        """That `required`, `default` and `missing` do not contradict each other. Errors: ValueError."""
        who = f"feature '{self.name}'"
        if default is not None and missing is not None:
            raise ValueError(f"{who}: missing together with default; missing.value stands in for null and for no key")
        if self.required and default is not None:
            raise ValueError(f"{who}: required together with default; keep one of the two")
        if self.required is False and default is None and missing is None:
            raise ValueError(f"{who}: required false needs a default for records without it")


class FeatureBase(Section, Described, frozen=True, kw_only=True, tag_field="type"):
    """What every feature has: its name, the key of the record that it reads (its name when left out), and whether a
    record may leave it out."""

    name: Name
    field: Name | None = None
    required: bool | None = None


def finite(**values: float) -> None:
    for key, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{key} must be a finite number, not {value}")


def ordered(
    low_key: str, low: float | None, high_key: str, high: float | None, *, strict: bool = False, who: str = ""
) -> None:
    for key, value in ((low_key, low), (high_key, high)):
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{who}{key} must be a finite number, not {value}")
    if low is not None and high is not None and (low >= high if strict else low > high):
        raise ValueError(f"{who}{low_key} {low:g} must be below {high_key} {high:g}")


def unique(words: Collection[str], what: str) -> None:
    seen: set[str] = set()
    for word in words:
        if word in seen:
            raise ValueError(f"{what} must be unique, '{word}' is there twice")
        seen.add(word)
