"""Text files that a user hands over: UTF-8 with or without a byte order mark, or an error that names file and line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

BOM: Final = b"\xef\xbb\xbf"
_CONSTANT: Final = re.compile(rb"-?(?:NaN|Infinity)")


class BadText(ValueError):
    """What is wrong with a file, as `FILE:LINE: what`."""


def text_of(path: Path) -> str:
    """The text of a file, without a byte order mark. Errors: OSError; as for `decoded`."""
    return decoded(path.read_bytes(), path)


def decoded(content: bytes, path: Path | str) -> str:
    """Bytes of the file `path` as text. Errors: BadText for bytes that are not UTF-8, and when there is no text."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise BadText(f"{path}:1: not UTF-8 but UTF-16; save the file as UTF-8") from None
        wrong = content[error.start]
        raise BadText(
            f"{path}:{_line(content, error.start)}: not UTF-8: byte 0x{wrong:02x}; save the file as UTF-8"
        ) from None
    if not text.strip():
        raise BadText(f"{path}:1: the file is empty")
    return text


def not_json(content: str, path: Path, error: msgspec.DecodeError) -> BadText:
    """The error for a text that msgspec could not decode: with the line if the decoder tells where."""
    if isinstance(error, msgspec.ValidationError):
        return BadText(f"{path}: {error}")
    raw, where = content.encode(), re.search(r" \(byte (\d+)\)", str(error))
    at = int(where[1]) if where else len(raw.rstrip())
    constant = next((found for found in _CONSTANT.finditer(raw) if found.start() <= at <= found.end()), None)
    what = f"{constant[0].decode()} is not a number in JSON" if constant else re.sub(r" \(byte \d+\)", "", str(error))
    return BadText(f"{path}:{_line(raw, at)}: {what}")


def _line(content: bytes, at: int) -> int:
    return content.count(b"\n", 0, at) + 1
