"""Findings of a local release: processes that have ended, and what the others report. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.release.doctor.finding import Diagnosis, Finding, merged
from deployer.release.doctor.serving import lasting_findings, unreachable_findings
from deployer.targets.snapshot import LocalSnapshot


def diagnose(snapshot: LocalSnapshot, *, target: str) -> Diagnosis:
    """Every cause in a snapshot, each once."""
    silent = unreachable_findings(snapshot.serving, [*snapshot.serving.replicas, *snapshot.serving.gateways])
    return Diagnosis(
        target=target,
        findings=merged([*_ended(snapshot), *silent, *lasting_findings(snapshot.serving, snapshot.before)]),
    )


def _ended(snapshot: LocalSnapshot) -> Iterator[Finding]:
    if not snapshot.gateways:
        yield Finding(
            cause="no gateway is running",
            subjects=(snapshot.release,),
            evidence="the release has replicas but no gateway: its start was interrupted",
            remedy="`deployer local up` starts what is missing",
        )
    for process in snapshot.ended:
        yield Finding(
            cause="a process has ended",
            subjects=(process.name,),
            evidence=process.log_tail,
            remedy=f"the whole log is {process.log}; `deployer local up` restarts it",
        )
