"""What rows of data show of each key: its type, range, words, and how often it is missing."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import msgspec

from deployer.errors import SpecError
from deployer.records import rows

WORDS_KEPT: Final = 10_000
"""Different words that are counted per key; a key with more is not a category with a vocabulary."""

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


@dataclass(kw_only=True)
class Profile:
    """One key. Sums are those of numbers; `lengths` those of lists, `words` the texts and how often they came."""

    rows: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    low: float = math.inf
    high: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0
    whole: bool = True
    words: Counter[str] = field(default_factory=Counter)
    many_words: bool = False
    times: int = 0
    lengths: Counter[int] = field(default_factory=Counter)

    @property
    def kind(self) -> str:
        """number, bool, text, time, list, or mixed."""
        if len(self.kinds) != 1:
            return "mixed" if self.kinds else "empty"
        (kind,) = self.kinds
        return "time" if kind == "text" and self.times == self.kinds["text"] else kind

    @property
    def deviation(self) -> float:
        """Standard deviation of the numbers, as numpy's `std`."""
        count = self.kinds["number"]
        return math.sqrt(self.squares / count) if count else 0.0

    def missing(self, total: int) -> float:
        """The share of rows without a value."""
        return 1 - self.kinds.total() / total

    def take(self, value: Any) -> None:
        """One more value."""
        match value:
            case None:
                return
            case bool():
                self.kinds["bool"] += 1
            case int() | float():
                self._number(float(value))
            case str():
                self._text(value)
            case list():
                self.kinds["list"] += 1
                self.lengths[len(value)] += 1
                for element in value:
                    if isinstance(element, str):
                        self._count(element)
            case _:
                self.kinds["object"] += 1

    def _number(self, value: float) -> None:
        self.kinds["number"] += 1
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.whole = self.whole and value.is_integer()
        difference = value - self.mean
        self.mean += difference / self.kinds["number"]
        self.squares += difference * (value - self.mean)

    def _text(self, value: str) -> None:
        self.kinds["text"] += 1
        self.times += _TIME.fullmatch(value) is not None
        self._count(value)

    def _count(self, word: str) -> None:
        if word in self.words or len(self.words) < WORDS_KEPT:
            self.words[word] += 1
        else:
            self.many_words = True


def profiles(patterns: Sequence[str]) -> tuple[int, dict[str, Profile]]:
    """The number of rows in files of records, and every key in the order in which it first came.

    Errors: SpecError for files that cannot be read, and for the first row that is no record.
    """
    found: dict[str, Profile] = {}
    count = 0
    for record in _records(patterns):
        count += 1
        for key, value in record.items():
            found.setdefault(key, Profile()).take(value)
    return count, found


def _records(patterns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    files = rows.expand(patterns)
    read = rows.read(files, rows.Columns(), counts=[rows.count(path) for path in files])
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for row in islice(read, None):
        if row.problem:
            raise SpecError(f"{row.file}:{row.line}: {row.problem}", hint="correct the file, or leave it out of --data")
        yield decode(row.record)
