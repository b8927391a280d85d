"""The verdict on a replay: which failures are known, which were a matter of time, and what a reader is shown."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from replay.cases import Case, Json, RecordingError
from replay.compare import FAILING, Difference, Kind

_SHORT, _LONG = 160, 600
"""Characters of a value that are shown of the first difference of a failure, and of all with `verbose`."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One case that was played and compared."""

    case: Case
    answer: Json
    differences: tuple[Difference, ...]
    exact: bool = False

    @property
    def failed(self) -> bool:
        """Whether something differs that matters; `exact` makes everything matter."""
        return any(self.exact or difference.kind in FAILING for difference in self.differences)

    def lines(self, *, verbose: bool) -> Iterator[str]:
        """The case with its kinds of differences, and the differences: the first that fails it, or all."""
        kinds = "+".join(sorted({difference.kind.value for difference in self.differences}))
        yield f"{self.case.id} [{kinds}] {self.case.note[:60]}"
        shown = [d for d in self.differences if verbose or self.exact or d.kind in FAILING]
        limit = _LONG if verbose else _SHORT
        for difference in shown if verbose else shown[:1]:
            want, got = (json.dumps(value)[:limit] for value in (difference.want, difference.got))
            yield f"  {difference.path or 'the answer'}: want {want} got {got}"


def known_failures(file: Path) -> dict[str, str]:
    """Ids of cases that may fail, each with its reason. Raises RecordingError."""
    try:
        known = tomllib.loads(file.read_text("utf-8")).get("known", {})
    except (OSError, ValueError) as error:
        raise RecordingError(f"{file}: {error}") from error
    if not all(isinstance(reason, str) and reason for reason in known.values()):
        raise RecordingError(f"{file}: each known failure has its reason, a text")
    return dict(known)


@dataclass(kw_only=True)
class Report:
    """Of one replay. `known` failures do not count against it; `floor` is the share of counted cases that must pass."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    flaky: set[str] = field(default_factory=set)
    floor: float = 1.0

    def add(self, outcome: Outcome) -> None:
        """Take a case's first outcome."""
        self.outcomes[outcome.case.id] = outcome

    def add_again(self, outcome: Outcome) -> None:
        """Take the outcome of a case that was played once more: it counts if it is the better one."""
        if self.outcomes[outcome.case.id].failed and not outcome.failed:
            self.outcomes[outcome.case.id] = outcome
            self.flaky.add(outcome.case.id)

    @property
    def counted(self) -> list[Outcome]:
        """Those whose differences are failures."""
        return [outcome for outcome in self.outcomes.values() if outcome.case.counts]

    @property
    def failures(self) -> list[Outcome]:
        """Counted cases that failed and are not known to."""
        return [outcome for outcome in self.counted if outcome.failed and outcome.case.id not in self.known]

    @property
    def passed(self) -> bool:
        """Whether the floor is kept."""
        good = len(self.counted) - len(self.failures)
        return good >= self.floor * len(self.counted)

    def to_retry(self) -> list[Case]:
        """Cases worth another play, because time decides about them."""
        return [outcome.case for outcome in self.failures if outcome.case.timed]

    def lines(self, *, verbose: bool = False) -> Iterator[str]:
        """What a reader is shown, the sum last."""
        in_order = [self.outcomes[name] for name in sorted(self.outcomes)]
        for outcome in in_order:
            if (outcome.differences and verbose) or outcome in self.failures:
                yield from outcome.lines(verbose=verbose)
        for name, reason in self.known.items():
            if name in self.outcomes and self.outcomes[name].failed:
                yield f"{name} is known to fail: {reason}"
            elif name in self.outcomes:
                yield f"{name} passes now: take it from the list of known failures"
        yield from (f"{name} is flaky: it failed, and passed when it was played again" for name in sorted(self.flaky))
        yield f"differing cases by kind: {_counts(self.outcomes.values())}"
        failed = sum(outcome.failed for outcome in self.counted)
        yield (
            f"conformance: {len(self.counted) - failed} of {len(self.counted)} cases pass, "
            f"{failed - len(self.failures)} known failures, {len(self.failures)} others, {len(self.flaky)} flaky; "
            f"{len(self.outcomes) - len(self.counted)} cases that do not count"
        )


def _counts(outcomes: Iterable[Outcome]) -> str:
    kinds = Counter(kind for outcome in outcomes for kind in {d.kind for d in outcome.differences})
    return ", ".join(f"{kind.value} {kinds[kind]}" for kind in Kind if kinds[kind]) or "none"
