"""The result of a measurement: of a gate, or of a trial against its objective."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Too little evidence is neither pass nor fail; and what no gate looked at is not judged."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on one gate, and the figures behind it as text."""

    gate: str
    verdict: Verdict
    numbers: str

    def __str__(self) -> str:
        return f"{self.gate}: {self.verdict} ({self.numbers})"
