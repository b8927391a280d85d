"""What a JSON document is in memory, with the few things that rapidjson knows and Python's types do not."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable

JsonValue = dict[str, "JsonValue"] | list["JsonValue"] | str | int | float | bool | None


class Repeated(dict[str, JsonValue]):
    """An object with a repeated key. Look-up finds the first value of a key; `pairs` has all of them in order."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, JsonValue]]) -> None:
        super().__init__(reversed(pairs))
        self.pairs = pairs


def members(value: dict[str, JsonValue]) -> Iterable[tuple[str, JsonValue]]:
    """All members of an object in the order of the text, repeated keys included."""
    return value.pairs if isinstance(value, Repeated) else value.items()


_MIN_INT64, _MAX_UINT64 = -(1 << 63), (1 << 64) - 1


def is_double(value: JsonValue) -> bool:
    """Whether a number is one that rapidjson keeps as a double: not an integer token, or one beyond 64 bits."""
    if type(value) is int:
        return not _MIN_INT64 <= value <= _MAX_UINT64
    return type(value) is float


def flushed(value: float) -> float:
    """Zero of the same sign for a number below the normal range: TensorFlow Serving parses with denormals off."""
    return value if abs(value) >= sys.float_info.min or value != value else math.copysign(0.0, value)


def until_nul(name: str) -> str:
    """A name as TensorFlow Serving keeps it: C text, which a NUL ends."""
    return name.partition("\0")[0]


def is_utf8(text: str) -> bool:
    """Whether a text is one: bytes that are not UTF-8 are surrogates, which protobuf does not hold."""
    return text.isascii() or text == text.encode("utf-8", "replace").decode()
