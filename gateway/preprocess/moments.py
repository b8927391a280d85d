"""Moments in time as whole microseconds since 1970 in UTC: read from records, and taken apart by a clock."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from gateway.preprocess.batch import Array
from gateway.preprocess.findings import kind_name, shown

SECOND = 1_000_000
DAY = 86_400 * SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_SURELY_MILLIS = 300_000_000_000
"""Too late for seconds (beyond the year 9999), and as milliseconds in 1979 or later."""
_MANY = 32
"""Texts from which on reading them all at once is faster than one by one."""

_PERIODS = {
    "month": (12, 1), "day": (31, 1), "hour": (24, 0), "minute": (60, 0), "second": (60, 0), "weekday": (7, 0),
    "day_of_year": (366, 1),
}  # fmt: skip
"""Length and first value of the circle on which a part goes round."""


class NotAMoment(ValueError):
    """A value that is no moment; the message is the reason, for the client."""


def read_text(text: object) -> int:
    """RFC 3339, to the microsecond; further digits are cut. A leap second is the first of the next minute.

    Errors: NotAMoment.
    """
    if not isinstance(text, str):
        raise NotAMoment(f"expected a time as text (RFC 3339), got {kind_name(text)}")
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise NotAMoment(f"expected a time such as 2026-01-31T08:30:00Z (RFC 3339), got {shown(text)}")
    date, clock, second, fraction, offset = match.groups()
    leap = second == "60"
    try:
        moment = datetime.fromisoformat(
            f"{date}T{clock}{'59' if leap else second}{(fraction or '')[:7]}{offset.upper()}"
        )
        micros = (moment - _EPOCH) // timedelta(microseconds=1) + (SECOND if leap else 0)
    except (ValueError, OverflowError) as error:
        raise NotAMoment(f"there is no time {shown(text)}") from error
    return _within(micros, text)


def read_texts(texts: list[object]) -> Array | None:
    """Many texts of the form 2026-01-31T08:30:00Z, or all with +01:00, at once; None where one has another form, or is
    no moment."""
    if len(texts) < _MANY or not {str}.issuperset(map(type, texts)):
        return None
    sizes = set(map(len, texts))  # type: ignore[arg-type]  # they are texts
    if sizes not in ({20}, {25}):
        return None
    joined = "".join(texts)  # type: ignore[arg-type]  # they are texts
    if not joined.isascii():
        return None
    letters = np.frombuffer(joined.encode(), dtype=np.uint8).reshape(len(texts), -1)
    offset = _offsets(letters) if sizes == {25} else 0
    zulu = sizes == {25} or (letters[:, 19] == ord("Z")).all()
    if offset is None or not zulu or not (letters[:, _MARKS] == _MARKED).all():
        return None
    digits = letters[:, [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]].astype(np.int64) - ord("0")
    if digits.min() < 0 or digits.max() > 9:
        return None
    year = digits[:, 0] * 1000 + digits[:, 1] * 100 + digits[:, 2] * 10 + digits[:, 3]
    month, day, hour, minute, second = (digits[:, at] * 10 + digits[:, at + 1] for at in range(4, 14, 2))
    if year.min() < 1 or month.min() < 1 or month.max() > 12 or day.min() < 1:
        return None
    if hour.max() > 23 or minute.max() > 59 or second.max() > 59:
        return None
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    first = months.astype("M8[D]").astype(np.int64)
    if (first + day > (months + 1).astype("M8[D]").astype(np.int64)).any():
        return None
    micros: Array = (((first + day - 1) * 24 + hour) * 60 + minute) * 60 + second
    micros = (micros - offset) * SECOND
    return micros if micros.min() >= _FIRST and micros.max() <= _LAST else None


_MARKS = [4, 7, 10, 13, 16]
_MARKED = np.frombuffer(b"--T::", dtype=np.uint8)


def _offsets(letters: Array) -> Array | None:
    """Seconds east of UTC, of the last six letters of each text; None where one is no offset."""
    sign = letters[:, 19]
    digits = letters[:, [20, 21, 23, 24]].astype(np.int64) - ord("0")
    hours, minutes = digits[:, 0] * 10 + digits[:, 1], digits[:, 2] * 10 + digits[:, 3]
    if not np.isin(sign, (ord("+"), ord("-"))).all() or not (letters[:, 22] == ord(":")).all():
        return None
    if digits.min() < 0 or digits.max() > 9 or hours.max() > 23 or minutes.max() > 59:
        return None
    return np.where(sign == ord("+"), 1, -1) * (hours * 3600 + minutes * 60)


def read_numbers(values: list[object], scale: int) -> Array | None:
    """Many whole numbers, or many fractions, at once; None where they are neither, or one is no moment."""
    kinds = set(map(type, values))
    if len(values) < _MANY or kinds not in ({int}, {float}):
        return None
    try:
        numbers = np.array(values, dtype=np.int64 if kinds == {int} else np.float64)
    except OverflowError:
        return None
    if not (np.abs(numbers) <= _LAST // scale).all() or (numbers < _FIRST // scale).any():
        return None
    return numbers * scale if kinds == {int} else np.rint(numbers * scale).astype(np.int64)


def read_number(value: object, scale: int) -> int:
    """Seconds (`scale` 1,000,000) or milliseconds (1,000) since 1970; fractions of a microsecond are rounded.

    Errors: NotAMoment.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotAMoment(f"expected a time as a number, got {kind_name(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise NotAMoment("NaN or Infinity is not a time")
    if abs(value) > 1e18:
        raise NotAMoment(f"there is no time {shown(value)}")
    hint = "; format: millis reads milliseconds" if scale == SECOND and value >= _SURELY_MILLIS else ""
    return _within(value * scale if isinstance(value, int) else round(value * scale), value, hint)


def _within(micros: int, value: object, hint: str = "") -> int:
    if not _FIRST <= micros <= _LAST:
        raise NotAMoment(f"there is no time {shown(value)}; years go from 1 to 9999{hint}")
    return micros


class Clock:
    """The time of day and the date in one time zone."""

    def __init__(self, zone: str) -> None:
        self._zone = None if zone == "UTC" else ZoneInfo(zone)

    def local(self, micros: Array) -> Array:
        """What the clock shows at each moment, as microseconds since it showed 1970."""
        if self._zone is None or not micros.size:
            return micros
        years = micros.astype("M8[us]").astype("M8[Y]").astype(np.int64) + 1970
        shifted = micros.copy()
        for year in np.unique(years).tolist():
            rows = years == year
            changes, offsets = _changes(self._zone, year)
            shifted[rows] += offsets[np.searchsorted(changes, micros[rows], side="right")]
        return shifted


@lru_cache(maxsize=4096)
def _changes(zone: ZoneInfo, year: int) -> tuple[Array, Array]:
    """The moments of a year (UTC) at which a zone changes its offset, and the offsets before, between and after."""
    first = (datetime(year, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
    last = (datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
    changes: list[int] = []
    offsets = [_offset(zone, first)]
    before = first
    for at in [*range(first + 86_400, last, 86_400), last]:
        if _offset(zone, at) != offsets[-1]:
            low, high = before, at
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(zone, middle) == offsets[-1] else (low, middle)
            changes.append(high * SECOND)
            offsets.append(_offset(zone, at))
        before = at
    return np.array(changes, dtype=np.int64), np.array(offsets, dtype=np.int64)


def _offset(zone: ZoneInfo, seconds: int) -> int:
    moment = _EPOCH + timedelta(seconds=seconds)
    try:
        offset = moment.astimezone(zone).utcoffset()
    except OverflowError:  # the first or last day of all years, in a zone that would be in another one
        offset = zone.utcoffset(moment.replace(tzinfo=None))
    assert offset is not None
    return offset // timedelta(microseconds=1)


def part(name: str, local: Array) -> Array:
    """One part of what a clock shows, as whole numbers, or as the sine or cosine of its place in its circle."""
    base, _, function = name.rpartition("_") if name.endswith(("_sin", "_cos")) else (name, "", "")
    whole = _whole(base, local)
    if not function:
        return whole
    period, first = _PERIODS[base]
    angle = (whole - first) * (2 * math.pi / period)
    return np.sin(angle) if function == "sin" else np.cos(angle)


def _whole(name: str, local: Array) -> Array:
    match name:
        case "hour":
            return local // (3600 * SECOND) % 24
        case "minute":
            return local // (60 * SECOND) % 60
        case "second":
            return local // SECOND % 60
        case "weekday":
            return (local // DAY + 3) % 7
    days = local // DAY
    dates = days.astype("M8[D]")
    if name == "day":
        return days - dates.astype("M8[M]").astype("M8[D]").astype(np.int64) + 1
    years = dates.astype("M8[Y]")
    if name == "day_of_year":
        return days - years.astype("M8[D]").astype(np.int64) + 1
    year = years.astype(np.int64) + 1970
    if name == "year":
        return year
    return dates.astype("M8[M]").astype(np.int64) % 12 + 1
