"""Text files that a user hands over: UTF-8, or an error that names file, line and byte."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from deployer.errors import DeployerError, SpecError


def text_of(path: Path, kind: type[DeployerError] = SpecError) -> str:
    """The text of a file without a byte order mark. Errors: OSError; as for `decoded`."""
    return decoded(path.read_bytes(), path, kind)


def json_of(path: Path, kind: type[DeployerError] = SpecError, *, hint: str) -> Any:
    """The JSON document in a file.

    Errors: OSError; as for `decoded`; `kind` with file and line for what is not JSON.
    """
    text = text_of(path, kind)
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise kind(f"{path}:{error.lineno}: not JSON: {error.msg}", hint=hint) from None
    except _Constant as error:
        place = re.search(rf"(?<![\w\"]){error}(?![\w\"])", text)
        line = text.count("\n", 0, place.start() if place else 0) + 1
        raise kind(f"{path}:{line}: not JSON: {error} is not a number", hint=hint) from None


class _Constant(Exception):
    """NaN, Infinity or -Infinity, which Python reads and JSON does not have."""


def _refuse(constant: str) -> None:
    raise _Constant(constant)


def decoded(content: bytes, path: Path, kind: type[DeployerError] = SpecError) -> str:
    """Bytes of the file `path` as text, without a byte order mark.

    Errors: `kind` naming file and line, for bytes that are not UTF-8 and for a file without any text.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise kind(f"{path}:1: not UTF-8 but UTF-16", hint="save the file as UTF-8") from None
        raise kind(
            f"{path}:{line}: not UTF-8: byte 0x{content[error.start]:02x}",
            hint=f"save the file as UTF-8, for example with: iconv -f latin1 -t utf-8 {path.name}",
        ) from None
    if not text.strip():
        raise kind(f"{path}:1: the file is empty", hint="check the path, or write the file again")
    return text
