"""What is wrong with a release on this machine: processes that have ended, and what the others report. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.release.doctor.finding import Diagnosis, Finding, merged
from deployer.release.doctor.serving import lasting, silences
from deployer.targets.snapshot import LocalSnapshot


def diagnose(seen: LocalSnapshot, *, target: str) -> Diagnosis:
    """Every cause in a snapshot, each once."""
    silent = silences(seen.serving, [*seen.serving.replicas, *seen.serving.gateways])
    return Diagnosis(target=target, findings=merged([*_ended(seen), *silent, *lasting(seen.serving, seen.before)]))


def _ended(seen: LocalSnapshot) -> Iterator[Finding]:
    if not seen.gateways:
        yield Finding(
            cause="no gateway runs",
            subjects=(seen.release,),
            evidence="the release has replicas and no gateway: its start was cut off",
            remedy="`deployer local up` starts what is missing",
        )
    for process in seen.ended:
        yield Finding(
            cause="a process has ended",
            subjects=(process.name,),
            evidence=process.log_tail,
            remedy=f"the whole log is {process.log}; `deployer local up` starts it again",
        )
