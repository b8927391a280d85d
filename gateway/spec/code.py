"""A feature that a user's own package makes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from gateway.spec.base import FeatureBase, Name, Package


class CodeFeature(FeatureBase, frozen=True, kw_only=True, tag="code"):
    """Columns that the entry point of an installed package makes of some keys of the record.

    `package` is NAME==VERSION: what the spec was made with, and what the image must have. `options` go to the function.
    """

    entry: Name
    package: Package
    of: Annotated[list[Name], Meta(min_length=1, max_length=100)]
    length: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    options: dict[str, str | float | bool | None] | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.of)

    @property
    def columns(self) -> int:
        return self.length

    def __post_init__(self) -> None:
        self.check_presence(None)
        if self.field is not None:
            raise ValueError(f"feature '{self.name}': 'of' names the fields, field does not apply")
