"""Moments in time, and the numbers that a model sees of them."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta

from gateway.spec.base import Name
from gateway.spec.numbers import NumberBase

Part = Literal[
    "year", "month", "day", "hour", "minute", "second", "weekday", "day_of_year", "epoch", "elapsed", "age",
    "month_sin", "month_cos", "day_sin", "day_cos", "hour_sin", "hour_cos", "minute_sin", "minute_cos",
    "second_sin", "second_cos", "weekday_sin", "weekday_cos", "day_of_year_sin", "day_of_year_cos",
]  # fmt: skip

WHOLE = frozenset({"year", "month", "day", "hour", "minute", "second", "weekday", "day_of_year"})
"""Parts that are whole numbers."""


class TimestampFeature(NumberBase, frozen=True, kw_only=True, tag="timestamp"):
    """A moment, one column per part. `format` says how records write it, `timezone` in which the clock is read.

    `elapsed` is the seconds from the moment in `since`, another field of the record; `age` the seconds until now.
    The transforms of numbers apply where there is one part.
    """

    parts: Annotated[list[Part], Meta(min_length=1)]
    format: Literal["rfc3339", "seconds", "millis"] = "rfc3339"
    timezone: Name = "UTC"
    since: Name | None = None
    default: str | float | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key, self.since) if self.since is not None else (self.key,)

    @property
    def columns(self) -> int:
        return self.bucketize.columns if self.bucketize else len(self.parts)

    def __post_init__(self) -> None:
        who = f"feature '{self.name}'"
        self.check_presence(self.default, self.missing)
        self.check_transforms(who)
        if len(set(self.parts)) < len(self.parts):
            raise ValueError(f"{who}: parts must be unique")
        if len(self.parts) > 1 and any(
            (self.min is not None, self.max is not None, self.clip, self.curve, self.normalize, self.min_max,
             self.bucketize)
        ):  # fmt: skip
            raise ValueError(f"{who}: transforms apply to one part, it has {len(self.parts)}; make one feature of each")
        if ("elapsed" in self.parts) != (self.since is not None):
            raise ValueError(f"{who}: part elapsed and since belong together")
        if self.missing is not None and (self.missing.value is not None or self.missing.mean):
            raise ValueError(f"{who}: no moment stands in for a missing one; missing takes flag only")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"{who}: there is no time zone '{self.timezone}'; they are named as Europe/Paris"
            ) from error
