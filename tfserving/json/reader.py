"""JSON as TensorFlow Serving reads it: the dialect, the error texts and the offsets of rapidjson 1.1.0.

Beyond RFC 8259 it accepts NaN, Inf and Infinity, bytes after the document, a byte order mark and invalid UTF-8 inside
strings. Nesting is bounded by memory there, and by `DEPTH_MAX` here. Values are Python's (dict, list, str, int, float,
bool, None), with two additions: bytes that are not UTF-8 are surrogates (`surrogateescape`), and an object with a
repeated key is a `Repeated`.
Numbers are rounded correctly, where rapidjson may be wrong in the last digit of a double; numbers below the normal
range become zero, as in TensorFlow Serving.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import msgspec

from tfserving.json.values import JsonValue, Repeated, flushed
from tfserving.json.writer import dump
from tfserving.wire.status import Code, StatusError, invalid

DEPTH_MAX = 100_000
"""Arrays and objects inside each other. Each level of a byte takes some hundred bytes while it is open."""
VALUES_AT_ONCE = 4096
"""Values that the exact reader reads before it asks whether anybody still waits for them."""
_decoder = msgspec.json.Decoder()
_KEY = re.compile(rb'"[ \t\r\n]*:')
_ZERO_WITH_POWER = re.compile(rb"0[eE]\+?[0-9]{3}")
"""A zero with a large exponent is too big for rapidjson."""
_TO_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONGEST_INTEGER = b"0" * 309
"""As many digits as the largest double has: a longer number may be too big, which the decoder does not notice."""


def read_object(body: bytes, given_up: Callable[[], bool] = bool) -> dict[str, JsonValue]:
    """Parse a request body. `given_up` is asked now and then, and ends the reading when it says so.

    Errors: INVALID_ARGUMENT with rapidjson's text, or for a document that is no object; CANCELLED when given up.
    """
    value = _read_plain(body)
    if value is None:
        value = _Reader(body, given_up).read()
    if not isinstance(value, dict):
        raise invalid(f"JSON Value: {dump(value)} Is not object")
    return value


def _read_plain(body: bytes) -> JsonValue:
    """The value of strictly valid JSON with no repeated key, or None when the exact reader has to decide."""
    if len(body) >= len(_LONGEST_INTEGER) and _LONGEST_INTEGER in body.translate(_TO_ZEROS):
        return None
    if (b"0e" in body or b"0E" in body) and _ZERO_WITH_POWER.search(body):
        return None
    try:
        value: JsonValue = _decoder.decode(body)
        if not isinstance(value, dict):
            return None
        decoded = _count_keys(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if body.count(b":") != decoded and len(_KEY.findall(body)) != decoded:
        return None
    return value


def _count_keys(value: JsonValue) -> int:
    """Keys in a value. Lists that start with a number are not searched: the count may be too low, never too high."""
    if isinstance(value, dict):
        return len(value) + sum(_count_keys(v) for v in value.values() if isinstance(v, dict | list))
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return sum(_count_keys(v) for v in value if isinstance(v, dict | list))
    return 0


_SPACE = re.compile(rb"[ \t\r\n]*")
_SIMPLE = re.compile(rb"-?(?:0|[1-9][0-9]{0,99})(\.[0-9]{1,99})?(?![0-9.eE])")
_INTEGER = re.compile(rb"0|[1-9][0-9]*")
_AFTER_INTEGER = re.compile(rb"(?P<frac>\.[0-9]*)?(?P<exp>[eE][+-]?[0-9]*)?")
_LARGEST_POWER = 308
_PARTS = {"frac": "fraction part", "exp": "exponent"}
_PLAIN = re.compile(rb'[^\x00-\x1f"\\]*')
_ESCAPES = {0x22: b'"', 0x2F: b"/", 0x5C: b"\\", 0x62: b"\b", 0x66: b"\f", 0x6E: b"\n", 0x72: b"\r", 0x74: b"\t"}
_HEX4 = re.compile(rb"[0-9a-fA-F]{4}")
_LITERALS: dict[int, tuple[bytes, bool | None]] = {
    ord("t"): (b"true", True),
    ord("f"): (b"false", False),
    ord("n"): (b"null", None),
}

_INVALID_VALUE = "Invalid value."
_TOO_BIG = "Number too big to be stored in double."
_BAD_ESCAPE = "Invalid escape character in string."
_BAD_SURROGATE = "The surrogate pair in string is invalid."


class _TooBig(ValueError):
    """The number is beyond the largest double."""


def _integer(digits: str) -> int:
    """Errors: _TooBig, which also keeps Python from an integer of more digits than it converts."""
    if math.isinf(float(digits)):
        raise _TooBig(digits)
    return int(digits)


def _double(digits: str, fraction: str, power: str) -> float:
    """The double of its digits before and after the point and of its exponent. Errors: _TooBig, by rapidjson's rule:
    the exponent alone decides, also for a zero, and what is too big only with its digits is infinite.
    """
    _integer(digits)
    if power and float(power) > _LARGEST_POWER + len(fraction):
        raise _TooBig(power)
    return flushed(float(f"{digits}.{fraction}e{power or 0}"))


class _Array:
    """An array whose end has not been read."""

    closer = ord("]")
    expected = "Missing a comma or ']' after an array element."

    def __init__(self) -> None:
        self._items: list[JsonValue] = []

    def add(self, value: JsonValue) -> None:
        self._items.append(value)

    def value(self) -> JsonValue:
        return self._items


class _Object:
    """An object whose end has not been read; `name` belongs to the next value."""

    closer = ord("}")
    expected = "Missing a comma or '}' after an object member."

    def __init__(self, name: str) -> None:
        self.name = name
        self._pairs: list[tuple[str, JsonValue]] = []

    def add(self, value: JsonValue) -> None:
        self._pairs.append((self.name, value))

    def value(self) -> JsonValue:
        value = dict(self._pairs)
        return value if len(value) == len(self._pairs) else Repeated(self._pairs)


class _Reader:
    """The exact reader: slower, and it knows where and why a document is wrong. Not recursive."""

    def __init__(self, body: bytes, given_up: Callable[[], bool]) -> None:
        self._body = body
        self._at = 0
        self._given_up = given_up
        self._values = 0

    def read(self) -> JsonValue:
        """Parse one value; what follows it is ignored. Errors: INVALID_ARGUMENT."""
        if not self._body:
            raise invalid("JSON Parse error: The document is empty")
        for byte in b"\xef\xbb\xbf":
            if self._peek() == byte:
                self._at += 1
        self._skip_space()
        if self._peek() in b"\0]},:":
            raise self._error("The document is empty.")
        nesting: list[_Array | _Object] = []
        while True:
            opened = self._open()
            if opened is not None:
                nesting.append(opened)
                if len(nesting) > DEPTH_MAX:
                    raise invalid(f"JSON Parse error: nested deeper than {DEPTH_MAX} levels at offset: {self._at}")
                continue
            self._values += 1
            if not self._values % VALUES_AT_ONCE and self._given_up():
                raise StatusError(Code.CANCELLED, "the request was given up: its client left, or its time has passed")
            value = self._value()
            while True:
                if not nesting:
                    return value
                inner = nesting[-1]
                inner.add(value)
                self._skip_space()
                byte = self._peek()
                if byte == ord(","):
                    self._step()
                    if isinstance(inner, _Object):
                        inner.name = self._name()
                    break
                if byte != inner.closer:
                    raise self._error(inner.expected)
                self._at += 1
                value = nesting.pop().value()

    def _open(self) -> _Array | _Object | None:
        """Enter a container that is not empty."""
        start, byte = self._at, self._peek()
        if byte not in b"[{":
            return None
        self._step()
        if self._peek() == (_Array.closer if byte == ord("[") else _Object.closer):
            self._at = start
            return None
        return _Array() if byte == ord("[") else _Object(self._name())

    def _value(self) -> JsonValue:
        """A scalar or an empty container."""
        byte = self._peek()
        if byte == ord('"'):
            return self._string()
        if byte in b"[{":
            self._step()
            self._at += 1
            return [] if byte == ord("[") else {}
        if byte in _LITERALS:
            return self._literal(*_LITERALS[byte])
        return self._number()

    def _name(self) -> str:
        if self._peek() != ord('"'):
            raise self._error("Missing a name for object member.")
        name = self._string()
        self._skip_space()
        if self._peek() != ord(":"):
            raise self._error("Missing a colon after a name of object member.")
        self._step()
        return name

    def _literal(self, word: bytes, value: bool | None) -> bool | None:
        self._consume(word)
        return value

    def _consume(self, word: bytes) -> None:
        for byte in word:
            if self._peek() != byte:
                raise self._error(_INVALID_VALUE)
            self._at += 1

    def _number(self) -> int | float:
        simple = _SIMPLE.match(self._body, self._at)
        if simple is not None:
            self._at = simple.end()
            return int(simple[0]) if simple[1] is None else flushed(float(simple[0]))
        start = self._at
        negative = self._passes(b"-")
        integer = _INTEGER.match(self._body, self._at)
        special = self._not_finite() if integer is None else None
        if integer is not None:
            self._at = integer.end()
        digits = integer[0].decode() if integer else "0"
        after = _AFTER_INTEGER.match(self._body, self._at)
        assert after is not None
        try:
            if after["frac"] == b"." or after[0].endswith((b"e", b"E", b"+", b"-")):
                _integer(digits)
                part = "frac" if after["frac"] == b"." else "exp"
                raise self._error(f"Miss {_PARTS[part]} in number.", after.end(part))
            self._at = after.end()
            if not after[0]:
                value: int | float = _integer(digits) if special is None else special
            else:  # rapidjson reads on after Inf and NaN, and a fraction or an exponent there replaces them
                fraction, power = ((after[part] or b"")[1:].decode() for part in ("frac", "exp"))
                value = _double(digits, fraction, power)
            return -value if negative else value
        except _TooBig:
            raise self._error(_TOO_BIG, start) from None

    def _not_finite(self) -> float:
        """NaN, Inf or Infinity. As in rapidjson, a part of NaN may stand before Inf."""
        if self._passes(b"N") and self._passes(b"a") and self._passes(b"N"):
            return math.nan
        self._consume(b"Inf")
        if self._peek() == ord("i"):
            self._consume(b"inity")
        return math.inf

    def _passes(self, byte: bytes) -> bool:
        found = self._body.startswith(byte, self._at)
        self._at += found
        return found

    def _string(self) -> str:
        self._at += 1
        parts: list[bytes] = []
        while True:
            plain = _PLAIN.match(self._body, self._at)
            assert plain is not None
            parts.append(plain[0])
            self._at = plain.end()
            byte = self._peek()
            if byte == ord('"'):
                self._at += 1
                return b"".join(parts).decode("utf-8", "surrogateescape")
            if byte == 0:
                raise self._error("Missing a closing quotation mark in string.")
            parts.append(self._escape())

    def _escape(self) -> bytes:
        start = self._at
        if self._peek() != ord("\\"):
            raise self._error(_BAD_ESCAPE)
        self._at += 1
        byte = self._peek()
        if byte in _ESCAPES:
            self._at += 1
            return _ESCAPES[byte]
        if byte != ord("u"):
            raise self._error(_BAD_ESCAPE, start)
        code = self._hex4(start)
        if 0xD800 <= code <= 0xDBFF:
            if not self._body.startswith(b"\\u", self._at):
                raise self._error(_BAD_SURROGATE, start)
            self._at += 1
            low = self._hex4(start)
            if not 0xDC00 <= low <= 0xDFFF:
                raise self._error(_BAD_SURROGATE, start)
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        return chr(code).encode("utf-8", "surrogatepass")

    def _hex4(self, start: int) -> int:
        match = _HEX4.match(self._body, self._at + 1)
        if match is None:
            raise self._error("Incorrect hex digit after \\u escape in string.", start)
        self._at = match.end()
        return int(match[0], 16)

    def _peek(self) -> int:
        return self._body[self._at] if self._at < len(self._body) else 0

    def _step(self) -> None:
        self._at += 1
        self._skip_space()

    def _skip_space(self) -> None:
        match = _SPACE.match(self._body, self._at)
        assert match is not None
        self._at = match.end()

    def _error(self, text: str, offset: int | None = None) -> StatusError:
        return invalid(f"JSON Parse error: {text} at offset: {self._at if offset is None else offset}")
