"""Unpacking what clients send compressed: in steps, so that a small body cannot become all of the memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

GZIP: Final = 31
DEFLATE: Final = 15
"""zlib's window bits for a format."""

_STEP: Final = 1 << 20


class Damaged(Exception):
    """The bytes are not one complete compressed body."""


class TooLarge(Exception):
    """The body unpacks to more than its limit."""


class NoRoom(Exception):
    """`hold` refused a part of the body."""


def inflate(packed: bytes, window_bits: int, limit: int, hold: Callable[[int], bool]) -> bytes:
    """Unpack a body of at most `limit` bytes. `hold` is told the size of every piece, and may refuse it.

    Errors: Damaged, TooLarge, NoRoom.
    """
    inflater = zlib.decompressobj(window_bits)
    pieces: list[bytes] = []
    size = at = 0
    while not inflater.eof:
        given = inflater.unconsumed_tail  # zlib copies it each time, so it gets little
        if not given:
            given = packed[at : at + _STEP]
            at += len(given)
        try:
            piece = inflater.decompress(given, _STEP)
        except zlib.error as error:
            raise Damaged from error
        size += len(piece)
        if size > limit:
            raise TooLarge
        if not hold(len(piece)):
            raise NoRoom
        pieces.append(piece)
        if not piece and not given and not inflater.eof:
            raise Damaged
    if inflater.unused_data or at < len(packed):
        raise Damaged
    return b"".join(pieces)
