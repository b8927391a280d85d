"""What is wrong with the records of a request: every problem at once, each with record, feature and reason."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

SHOWN_MAX = 100
"""Problems that a response lists; the rest is only counted."""


class Problem(Struct, frozen=True):
    """One value that cannot be used. `record` counts from 0; `feature` is empty when the record as a whole is meant."""

    record: int
    feature: str
    problem: str

    def __str__(self) -> str:
        feature = f"feature '{self.feature}': " if self.feature else ""
        return f"record {self.record}: {feature}{self.problem}"


class RecordProblems(Exception):
    """Records that cannot become a tensor: the client's fault, status 400.

    `problems` are the first ones in the order of the records, at most `SHOWN_MAX`; `total` counts all of them.
    """

    def __init__(self, problems: Sequence[Problem], total: int) -> None:
        more = f" (and {total - 1} more)" if total > 1 else ""
        super().__init__(f"{problems[0]}{more}")
        self.problems = list(problems)
        self.total = total

    @classmethod
    def joined(cls, parts: Sequence[tuple[int, RecordProblems]]) -> RecordProblems:
        """Those of the pieces of a request, each with the place of its first record."""
        problems = [
            Problem(first + problem.record, problem.feature, problem.problem)
            for first, part in parts
            for problem in part.problems
        ]
        return cls(problems[:SHOWN_MAX], sum(part.total for _, part in parts))
