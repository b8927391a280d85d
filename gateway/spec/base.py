"""What the sections of a feature spec share: strictness, small types, and checks that answer with a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

Positive = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]


class SpecProblem(ValueError):
    """A feature spec that contradicts its schema, itself or a signature. `path` names the value, `what` the fault."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}" if path else what)
        self.path = path
        self.what = what


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What every section has in common: immutable, and a key that nobody knows is an error."""


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


def unique(words: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for word in words:
        if word in seen:
            raise ValueError(f"{what} must be unique, '{word}' is there twice")
        seen.add(word)
