"""What can be said after a measurement: of a gate, and of a trial against its objective."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Too little evidence is neither pass nor fail."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on one gate, and the numbers behind it in one sentence part."""

    gate: str
    verdict: Verdict
    numbers: str

    def __str__(self) -> str:
        return f"{self.gate}: {self.verdict} ({self.numbers})"
