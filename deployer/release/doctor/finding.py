"""Findings of `deployer doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Severity(StrEnum):
    """`error`: requests fail, or will fail; `warning`: it works, or follows from an error; `note`: information."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One cause: the affected objects, the evidence (such as the message of Kubernetes or a server), and the remedy."""

    cause: str
    subjects: tuple[str, ...]
    evidence: str
    remedy: str
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All findings, worst first; empty if there are none."""

    target: str
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


def confirmed(findings: Iterable[Finding], before: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that an earlier check had too, with the same subjects and the same evidence."""
    known = {(finding.cause, finding.evidence, subject) for finding in before for subject in finding.subjects}
    found = []
    for finding in findings:
        subjects = tuple(s for s in finding.subjects if (finding.cause, finding.evidence, s) in known)
        if subjects:
            found.append(replace(finding, subjects=subjects))
    return tuple(found)


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding per cause and evidence, with all its subjects; worst first, otherwise in the given order."""
    by_kind: dict[tuple[str, str, str], Finding] = {}
    for finding in findings:
        kind = (finding.cause, finding.evidence, finding.remedy)
        before = by_kind.get(kind)
        subjects = (*before.subjects, *finding.subjects) if before else finding.subjects
        by_kind[kind] = replace(finding, subjects=tuple(dict.fromkeys(subjects)))
    order = list(Severity)
    return tuple(sorted(by_kind.values(), key=lambda finding: order.index(finding.severity)))
