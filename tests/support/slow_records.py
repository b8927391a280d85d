"""A slow, obvious reference of features.yaml: one record, one feature, one value at a time, from the plain document.

It shares no code with the gateway: words are looked up with list.index, times are taken apart by datetime and zoneinfo.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo

Document = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Wrong(Exception):
    """A value that cannot be used; `keys` are those of the record that problems name."""

    def __init__(self, *keys: str) -> None:
        super().__init__(*keys)
        self.keys = keys


def row(features: list[Document], record: Document, *, now: float = 0.0) -> list[float]:
    """The columns of one record. Errors: Wrong with every key that has a problem."""
    columns: list[float] = []
    wrong: set[str] = set()
    for feature in features:
        try:
            columns += columns_of(feature, record, now)
        except Wrong as problem:
            wrong |= set(problem.keys)
    if wrong:
        raise Wrong(*wrong)
    return columns


def width(feature: Document) -> int:
    """How many columns a feature has."""
    kind = feature["type"]
    one = 1
    if kind == "category":
        one = len(feature["vocabulary"]) if feature.get("encoding", "one_hot") == "one_hot" else 1
    elif kind == "cross":
        one = feature["buckets"] if feature.get("encoding") == "one_hot" else 1
    elif kind == "timestamp":
        one = len(feature["parts"])
    elif kind == "list":
        one = feature.get("length") or len(feature["items"]["vocabulary"])
    if buckets := feature.get("bucketize"):
        one = len(buckets["boundaries"]) + 1 if buckets.get("encoding", "one_hot") == "one_hot" else 1
    if kind == "vector":
        one *= feature["length"]
    return one + bool(feature.get("missing", {}).get("flag"))


def columns_of(feature: Document, record: Document, now: float) -> list[float]:
    """The columns of one feature, the flag of a missing value among them."""
    missing = feature.get("missing")
    keys = feature.get("of") or [feature.get("field", feature["name"])]
    keys = [*keys, feature["since"]] if "since" in feature else keys
    gaps = [key for key in keys if record.get(key) is None]
    flag = [] if missing is None or not missing.get("flag") else [1.0 if gaps else 0.0]
    if missing is None or not gaps:
        return plain(feature, record, now) + flag
    if "value" not in missing and not missing.get("mean"):
        check_beside_gaps(feature, record, keys)
        return [0.0] * (width(feature) - 1) + flag
    value = feature["normalize"]["mean"] if missing.get("mean") else missing["value"]
    if feature["type"] in ("ratio", "difference"):
        check_beside_gaps(feature, record, keys)
        return numbers(feature, [value], feature["name"]) + flag
    if feature["type"] == "int":  # what stands in may be a fraction, such as a mean
        return numbers(feature, [value], keys[0]) + flag
    if feature["type"] == "vector":
        value = [value] * feature["length"]
    return plain(feature, record | dict.fromkeys(gaps, value), now) + flag


def check_beside_gaps(feature: Document, record: Document, keys: list[str]) -> None:
    """Of several keys, those that are there are checked, though the feature is missing."""
    wrong = []
    for key in keys:
        value = record.get(key)
        try:
            if value is None:
                continue
            if feature["type"] == "cross" and not isinstance(value, str):
                raise Wrong(key)
            if feature["type"] == "timestamp":
                moment(value, feature, key)
            if feature["type"] in ("ratio", "difference"):
                number(value, key)
        except Wrong:
            wrong.append(key)
    if wrong:
        raise Wrong(*wrong)


def plain(feature: Document, record: Document, now: float) -> list[float]:
    """The columns of a feature of which nothing is missing that may be."""
    key: Any = feature.get("field", feature["name"])
    kind = feature["type"]
    if kind in ("ratio", "difference"):
        return pair(feature, record)
    if kind == "cross":
        return cross(feature, record)
    value: Any = record[key] if key in record else feature.get("default")
    if kind == "timestamp":
        return timestamp(feature, record, value, key, now)
    if key not in record and "default" not in feature:
        raise Wrong(key)
    match kind:
        case "float" | "int":
            return numbers(feature, [number(value, key, whole=kind == "int")], key)
        case "vector":
            if not isinstance(value, list) or len(value) != feature["length"]:
                raise Wrong(key)
            return numbers(feature, [number(one, key) for one in value], key)
        case "bool":
            if not isinstance(value, bool):
                raise Wrong(key)
            return [1.0 if value else 0.0]
        case "category":
            return word(feature, value, key)
        case _:
            return elements(feature, value, key)


def number(value: object, key: str, *, whole: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Wrong(key)
    if whole and value != int(value):
        raise Wrong(key)
    return value


def numbers(feature: Document, values: list[float], key: str) -> list[float]:
    """Bounds and transforms, in the order that the reference states."""
    columns: list[float] = []
    for value in values:
        if value < feature.get("min", -math.inf) or value > feature.get("max", math.inf):
            raise Wrong(key)
        clip = feature.get("clip", {})
        value = min(max(value, clip.get("min", -math.inf)), clip.get("max", math.inf))
        if feature.get("log1p"):
            value = math.log1p(value)
        if feature.get("log"):
            value = math.log(value)
        if feature.get("sqrt"):
            value = math.sqrt(value)
        if "power" in feature:
            value = math.pow(value, feature["power"])
        if "normalize" in feature:
            value = (value - feature["normalize"]["mean"]) / feature["normalize"]["std"]
        if "min_max" in feature:
            low, high = feature["min_max"]["min"], feature["min_max"]["max"]
            value = (value - low) / (high - low)
        if "bucketize" in feature:
            boundaries = feature["bucketize"]["boundaries"]
            bucket = bisect_right(boundaries, value)
            if feature["bucketize"].get("encoding", "one_hot") == "one_hot":
                columns += [1.0 if index == bucket else 0.0 for index in range(len(boundaries) + 1)]
                continue
            value = bucket
        columns.append(value)
    return columns


def pair(feature: Document, record: Document) -> list[float]:
    first, second = feature["of"]
    if "default" in feature and (first not in record or second not in record):
        for key in {first, second} & record.keys():
            number(record[key], key)
        return numbers(feature, [feature["default"]], feature["name"])
    wrong, values = [], []
    for key in (first, second):
        try:
            values.append(number(record.get(key), key))
        except Wrong:
            wrong.append(key)
    if wrong:
        raise Wrong(*wrong)
    if feature["type"] == "difference":
        return numbers(feature, [values[0] - values[1]], feature["name"])
    if values[1] == 0:
        if "zero" not in feature:
            raise Wrong(second)
        return numbers(feature, [feature["zero"]], feature["name"])
    return numbers(feature, [values[0] / values[1]], feature["name"])


def normal(feature: Document, text: str) -> str:
    rules = feature.get("text", {})
    if "unicode" in rules:
        text = unicodedata.normalize(rules["unicode"], text)
    if "case" in rules:
        text = {"lower": text.lower(), "upper": text.upper(), "fold": text.casefold()}[rules["case"]]
        if "unicode" in rules:
            text = unicodedata.normalize(rules["unicode"], text)
    return text.strip() if rules.get("strip") else text


def index_of(feature: Document, value: object, key: str) -> int:
    if not isinstance(value, str):
        raise Wrong(key)
    if feature.get("encoding") == "hash_bucket":
        return crc32(normal(feature, value).encode()) % int(feature["buckets"])
    vocabulary = feature["vocabulary"]
    for candidate in (value, normal(feature, value)):
        if candidate in vocabulary:
            return int(vocabulary.index(candidate))
    if feature.get("unknown", "error") == "error":
        raise Wrong(key)
    return int(vocabulary.index(feature["unknown"]))


def word(feature: Document, value: object, key: str) -> list[float]:
    index = index_of(feature, value, key)
    if feature.get("encoding", "one_hot") == "one_hot":
        return [1.0 if at == index else 0.0 for at in range(len(feature["vocabulary"]))]
    return [float(index)]


def cross(feature: Document, record: Document) -> list[float]:
    wrong = [key for key in feature["of"] if not isinstance(record.get(key), str)]
    if wrong:
        raise Wrong(*wrong)
    joined = "_X_".join(normal(feature, record[key]) for key in feature["of"])
    index = crc32(joined.encode()) % feature["buckets"]
    if feature.get("encoding", "index") == "index":
        return [float(index)]
    return [1.0 if at == index else 0.0 for at in range(feature["buckets"])]


def elements(feature: Document, value: object, key: str) -> list[float]:
    if not isinstance(value, list):
        raise Wrong(key)
    length: Any = feature.get("length")
    cut = feature.get("truncate", "error")
    if length is not None and len(value) > length:
        if cut == "error":
            raise Wrong(key)
        value = value[:length] if cut == "end" else value[-length:]
    items = feature["items"]
    if items["type"] == "number":
        found = numbers(items, [number(one, key) for one in value], key)
    else:
        indices = [index_of(items, one, key) for one in value]
        if items.get("encoding", "one_hot") == "one_hot":
            return [1.0 if at in indices else 0.0 for at in range(len(items["vocabulary"]))]
        found = [float(index) for index in indices]
    return found + [feature.get("pad", 0.0)] * (length - len(found))


def moment(value: object, feature: Document, key: str) -> datetime:
    form = feature.get("format", "rfc3339")
    try:
        if form == "rfc3339":
            if not isinstance(value, str) or len(value) < 20 or value[4] != "-" or value[10] not in "Tt ":
                raise Wrong(key)
            found = datetime.fromisoformat(value)
            if found.tzinfo is None:
                raise Wrong(key)
            return found.astimezone(UTC)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise Wrong(key)
        scale = 1_000_000 if form == "seconds" else 1_000
        return EPOCH + timedelta(microseconds=value * scale if isinstance(value, int) else round(value * scale))
    except (ValueError, OverflowError) as error:
        raise Wrong(key) from error


def timestamp(feature: Document, record: Document, value: object, key: str, now: float) -> list[float]:
    wrong, moments = [], {}
    given: Document = {key: value}
    if "since" in feature:
        given[feature["since"]] = record.get(feature["since"])
    for name, one in given.items():
        try:
            moments[name] = moment(one, feature, name)
        except Wrong:
            wrong.append(name)
    if wrong:
        raise Wrong(*wrong)
    made = [part(name, moments, feature, key, now) for name in feature["parts"]]
    return numbers(feature, made, key) if len(made) == 1 else made


def part(name: str, moments: dict[str, datetime], feature: Document, key: str, now: float) -> float:
    micros = (moments[key] - EPOCH) // timedelta(microseconds=1)
    if name == "epoch":
        return micros / 1e6
    if name == "elapsed":
        return (micros - (moments[feature["since"]] - EPOCH) // timedelta(microseconds=1)) / 1e6
    if name == "age":
        return (round(now * 1e6) - micros) / 1e6
    local = moments[key].astimezone(ZoneInfo(feature.get("timezone", "UTC")))
    whole = {
        "year": local.year, "month": local.month, "day": local.day, "hour": local.hour, "minute": local.minute,
        "second": local.second, "weekday": local.weekday(), "day_of_year": local.timetuple().tm_yday,
    }  # fmt: skip
    if name in whole:
        return whole[name]
    base, _, function = name.rpartition("_")
    period = {"month": 12, "day": 31, "hour": 24, "minute": 60, "second": 60, "weekday": 7, "day_of_year": 366}[base]
    angle = (whole[base] - (base in ("month", "day", "day_of_year"))) * (2 * math.pi / period)
    return math.sin(angle) if function == "sin" else math.cos(angle)
