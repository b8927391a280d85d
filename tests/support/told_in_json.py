"""Whether what a table shows a person is in the document that `-o json` prints of the same result."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from deployer.cli.console import Console, Format, Table

SCALES = (1.0, 100.0, *(1 / base**power for base in (1000, 1024) for power in (1, 2, 3)), 1000.0)
"""A table shows shares in percent, and bytes and seconds in larger or smaller units."""

_WORDS = """
    about and cannot days does dry ended for gb gib has have hours kb kib loaded mb mib minutes more ms newest no none
    not ok or respond run state the to version versions yes
"""
"""Words that say in prose what the document has as a key, a number or true."""


def untold(tables: list[Table], document: object) -> list[str]:
    """Words and numbers in the cells that the document does not have."""
    found = msgspec.json.decode(msgspec.json.encode(document, enc_hook=str))
    text, numbers = json.dumps(found, ensure_ascii=False).lower(), list(_numbers(found))
    missing = []
    for cell in itertools.chain.from_iterable(row for table in tables for row in table.rows):
        shown = "" if cell is None or cell == "-" else str(cell)
        if shown.lower() in text:
            continue
        if re.fullmatch(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?.*", shown):
            continue  # a moment, from seconds since 1970
        for number in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?", shown):
            if not _is_there(number.replace(",", ""), numbers, text):
                missing.append(f"{number} in {shown!r}")
        for word in re.findall(r"[^\W\d_]{2,}", shown):
            if word.lower() not in text and word.lower() not in _WORDS.split():
                missing.append(f"{word} in {shown!r}")
    return missing


def _is_there(number: str, numbers: list[float], text: str) -> bool:
    value, digits = float(number), len(number.partition(".")[2].partition("e")[0])
    near = 0.51 * 10.0**-digits * (1 if "e" not in number else max(1.0, value))
    return number in text or any(abs(one * scale - value) <= near for one in numbers for scale in SCALES)


def _numbers(found: Any) -> Iterator[float]:
    """Every number, and the length of every list, mapping and text."""
    if isinstance(found, bool):
        return
    if isinstance(found, int | float):
        yield float(found)
    elif isinstance(found, str):
        yield float(len(found.encode()))
    elif isinstance(found, dict | list):
        yield float(len(found))
        for one in found.values() if isinstance(found, dict) else found:
            yield from _numbers(one)


def watch(patch: pytest.MonkeyPatch) -> None:
    """Hold every result that is printed as a table to its document, from now on."""
    shown: list[Table] = []
    as_text, result = Table.__str__, Console.result

    def keep(table: Table) -> str:
        shown.append(table)
        return as_text(table)

    def checked(console: Console, kind: str, data: object, text: Any) -> None:
        shown.clear()
        result(console, kind, data, text)
        if console.format is Format.TABLE:
            missing = untold(shown, data)
            assert missing == [], f"-o json of {kind} lacks what its table shows: {missing}"

    patch.setattr(Table, "__str__", keep)
    patch.setattr(Console, "result", checked)
