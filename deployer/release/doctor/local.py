"""Findings of a local release: processes, their files, and what the processes report. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from deployer.release.doctor.finding import Diagnosis, Finding, merged
from deployer.release.doctor.serving import lasting_findings, unreachable_findings
from deployer.targets.serving_view import ServingView
from deployer.targets.snapshot import LocalSnapshot
from gateway.settings import SettingsError, parse_settings


def diagnose(snapshot: LocalSnapshot, *, target: str) -> Diagnosis:
    """Every cause in a snapshot, each once."""
    remedies = {
        name: f"its log is {log}; when it hangs, `kill -9` its process and start it again with `deployer local up`"
        for name, log in snapshot.logs.items()
    }
    findings = [
        *_ended(snapshot),
        *unreachable_findings(snapshot.serving, remedies),
        *_absent(snapshot),
        *_addresses(snapshot),
        *lasting_findings(snapshot.serving, snapshot.before),
    ]
    return Diagnosis(target=target, findings=merged(findings))


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


def _absent(snapshot: LocalSnapshot) -> Iterator[Finding]:
    """Versions that replicas have in memory while the store has lost them. What is not served is found elsewhere."""
    for model, version, path in snapshot.absent:
        holders = tuple(
            name for name, states in _states(snapshot.serving, model).items() if states.get(version) == "AVAILABLE"
        )
        if holders:
            yield Finding(
                cause=f"version {version} of model {model} is served, but no longer in the store",
                subjects=holders,
                evidence=f"{path} does not exist; the replicas have the version in memory",
                remedy="put it back before a replica restarts: it could not load the version",
            )


def _states(view: ServingView, model: str) -> Mapping[str, Mapping[int, str]]:
    """State of each version of a model, by replica."""
    return {
        name: one.versions for name, replica in view.replicas.items() for one in replica.served if one.model == model
    }


def _addresses(snapshot: LocalSnapshot) -> Iterator[Finding]:
    try:
        backends = parse_settings(snapshot.serving.gateway_config).backends
    except SettingsError:
        return  # a finding of its own
    listed = set(backends.static or ())
    if listed != set(snapshot.addresses):
        yield Finding(
            cause="the gateway sends requests to other addresses than those of the replicas",
            subjects=("gateway configuration",),
            evidence=f"it lists {_joined(listed)}; the replicas are at {_joined(snapshot.addresses)}",
            remedy="`deployer local up` writes the addresses again",
        )


def _joined(addresses: Iterable[str]) -> str:
    return ", ".join(sorted(addresses)) or "none"
