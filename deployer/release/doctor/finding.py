"""What is wrong with a release, by cause."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Severity(StrEnum):
    """`error`: requests fail or will; `warning`: it works, or follows from an error; `note`: worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One cause: what it is, where it shows, in whose words, and what to do about it."""

    cause: str
    subjects: tuple[str, ...]
    evidence: str
    remedy: str
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All that was found, the worst first; empty when nothing is wrong."""

    target: str
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


def confirmed(findings: Iterable[Finding], before: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that an earlier look had found too, at the same places and with the same evidence."""
    known = {(finding.cause, finding.evidence, subject) for finding in before for subject in finding.subjects}
    found = []
    for finding in findings:
        subjects = tuple(s for s in finding.subjects if (finding.cause, finding.evidence, s) in known)
        if subjects:
            found.append(replace(finding, subjects=subjects))
    return tuple(found)


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each cause and evidence, with all its subjects; the worst first, else in the order given."""
    by_kind: dict[tuple[str, str, str], Finding] = {}
    for finding in findings:
        kind = (finding.cause, finding.evidence, finding.remedy)
        before = by_kind.get(kind)
        subjects = (*before.subjects, *finding.subjects) if before else finding.subjects
        by_kind[kind] = replace(finding, subjects=tuple(dict.fromkeys(subjects)))
    order = list(Severity)
    return tuple(sorted(by_kind.values(), key=lambda finding: order.index(finding.severity)))
