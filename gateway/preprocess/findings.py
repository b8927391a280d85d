"""Collects the problems of a request, bounded in memory and in time, in the order of the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from gateway.preprocess.problems import SHOWN_MAX, Problem, RecordProblems

MISSING = "missing required feature"

_KIND_NAMES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    list: "array",
    tuple: "array",
    dict: "object",
    type(None): "null",
}


class Findings:
    """Problems found so far. At most `SHOWN_MAX` per feature are worded, which is enough for the first of them all."""

    def __init__(self, features: Sequence[str]) -> None:
        """`features` in the order in which a record's problems are told; unknown features come after them."""
        self.total = 0
        self._features = features
        self._worded: dict[str, list[Problem]] = {}
        self._strangers: list[Problem] = []

    def add(self, record: int, feature: str, problem: str | Callable[[], str]) -> None:
        """One more problem; a callable is only called when its text will be kept."""
        self.total += 1
        if not self._worded:
            self._worded = {name: [] for name in self._features}
        worded = self._worded.get(feature, self._strangers)
        if len(worded) < SHOWN_MAX:
            problem_text = Problem(record, feature, problem if isinstance(problem, str) else problem())
            if problem_text in worded:  # two features read the same key
                self.total -= 1
            else:
                worded.append(problem_text)

    def raise_if_any(self) -> None:
        """Errors: RecordProblems with what was found."""
        if self.total:
            problems = list(chain(*self._worded.values(), self._strangers))
            problems.sort(key=lambda problem: problem.record)
            raise RecordProblems(problems[:SHOWN_MAX], self.total)


def kind_name(value: object) -> str:
    """What JSON calls the type of a value."""
    return _KIND_NAMES.get(type(value), type(value).__name__)


def shown(value: object) -> str:
    """A value as a message quotes it: short, whole numbers without a fraction, text in quotes."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, str):
        return f"'{shortened(value)}'"
    return shortened(str(value))


def shortened(text: str) -> str:
    """Text that a client sent, cut to a length that a response may repeat."""
    return text if len(text) <= 60 else f"{text[:57]}…"


def listed(words: Iterable[str]) -> str:
    """The first known words of a list that may be long."""
    words = list(words)
    more = f", … ({len(words)} in all)" if len(words) > 10 else ""
    return ", ".join(words[:10]) + more
