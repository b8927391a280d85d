"""Features that a store outside adds to a record, by a key of the record."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from gateway.spec.base import Name, Section, unique


class Lookup(Section, frozen=True, kw_only=True):
    """`features` are the keys that the store adds; a record must not bring them. The store is asked for `prefix` and
    the value of `key`; what it said is believed for `ttl_seconds`. `on_miss` says what becomes of a record of which
    nothing is stored, or for which the store does not respond: defaults apply, or it is refused.
    """

    key: Name
    features: Annotated[list[Name], Meta(min_length=1, max_length=1000)]
    store: Name = "default"
    prefix: Annotated[str, Meta(max_length=200)] = ""
    ttl_seconds: Annotated[float, Meta(ge=0)] = 30.0
    on_miss: Literal["default", "error"] = "default"

    def __post_init__(self) -> None:
        unique(self.features, "features of lookup")
        if self.key in self.features:
            raise ValueError(f"'{self.key}' is the key, it cannot be looked up by itself")
