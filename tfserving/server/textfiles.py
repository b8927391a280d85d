"""Reads the text-proto files that flags name, with the real server's errors."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from tfserving.wire.status import Code, StatusError, invalid

_log = logging.getLogger("tfserving.server")
_File = TypeVar("_File", bound=Message)


def read(path: str, kind: type[_File]) -> _File:
    """Parse a text-proto file.

    Errors: StatusError NOT_FOUND for a missing file, INVALID_ARGUMENT for one of zero bytes, with unknown fields or a
    syntax error.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        code = Code.NOT_FOUND if isinstance(error, FileNotFoundError) else Code.FAILED_PRECONDITION
        raise StatusError(code, f"{path}; {error.strerror}") from error
    if not content:
        raise invalid(f"{path}; Invalid argument")
    try:
        return text_format.Parse(content, kind())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        _log.error("Error parsing text-format tensorflow.serving.%s: %s", kind.DESCRIPTOR.name, error)
        raise invalid(f"Invalid protobuf file: '{path}'") from error
