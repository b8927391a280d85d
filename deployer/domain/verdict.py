"""What can be said after a measurement: of a gate, and of a trial against its objective."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """Too little evidence is neither pass nor fail."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
