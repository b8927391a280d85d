"""JSON into types, from any thread.

msgspec learns a type when it is used for the first time. Two threads that use one for the first time together crash the
process, because the second sees what the first has half learned. So types are learned under a lock.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_learning = Lock()
_decoders: dict[tuple[Any, bool], msgspec.json.Decoder[Any]] = {}


def json_as(text: bytes | str | msgspec.Raw, shape: type[T], *, strict: bool = True) -> T:
    """A JSON text as a type. Without `strict`, "1" counts as a number where one is wanted.

    Errors: msgspec.MsgspecError.
    """
    found: T = _decoder(shape, strict=strict).decode(text)
    return found


def document_as(document: object, shape: type[T], *, str_keys: bool = False) -> T:
    """A parsed document as a type; `str_keys` as in `msgspec.convert`. Errors: msgspec.ValidationError."""
    _decoder(shape, strict=True)
    return msgspec.convert(document, shape, str_keys=str_keys)


def _decoder(shape: type[T], *, strict: bool) -> msgspec.json.Decoder[T]:
    decoder = _decoders.get((shape, strict))
    if decoder is None:
        with _learning:
            decoder = _decoders[shape, strict] = msgspec.json.Decoder(shape, strict=strict)
    return decoder
