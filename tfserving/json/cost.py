"""What the objects of a JSON document take in memory, told from its bytes before anything is built of them."""

from __future__ import annotations

from typing import Final

_PLACE: Final = 21
"""A place in a list, and what a number takes once more in a tensor and its message."""
_NUMBER: Final = 32
"""A number of more than one digit; Python has the others already."""
_CONTAINER: Final = 96
_TEXT: Final = 56
_MEMBER: Final = 96
_SMALL: Final = 4096
_WORST: Final = 64
"""Bytes of objects for a byte of text where it is densest: a list in a list."""


def decoded_bytes(body: bytes) -> int:
    """An upper bound of the bytes that the decoded document takes beside `body` itself.

    Punctuation inside of texts counts as if it stood outside.
    """
    if len(body) <= _SMALL:
        return len(body) * _WORST
    values, members = body.count(b","), body.count(b":")
    containers, texts = body.count(b"[") + body.count(b"{"), body.count(b'"') // 2
    spare = max(0, len(body) - 2 * values - members - 2 * containers)
    numbers = min(values, spare)
    return len(body) + _PLACE * values + _NUMBER * numbers + _CONTAINER * containers + _TEXT * texts + _MEMBER * members
