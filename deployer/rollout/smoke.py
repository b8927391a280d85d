"""Checks of a version without traffic: one smoke request on every replica, memory, accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from deployer.domain.rollout import CANARY
from deployer.domain.verdict import Judgement, Verdict
from deployer.errors import DeployerError, TargetError, WaitTimeout
from deployer.release.smoke import predict_body
from deployer.rollout import proof
from deployer.rollout.proof import PARALLEL_REPLICAS, PROOF_POLL_SECONDS, Clock, EndCounts, alive
from deployer.targets.base import Target
from deployer.targets.rest import ModelPath
from deployer.targets.waiting import shortened
from tfserving.config import ModelServerConfig, Specific

SMOKE_TIMEOUT = 30.0
SMOKE = "smoke"
MEMORY_POLL_SECONDS = 1.0

END_REPORT_SECONDS = 5.0
"""Time for a kubelet to report that a container has ended."""


@dataclass(frozen=True, kw_only=True)
class _Reply:
    """The response of one replica; `status` is 0 if there was none, and `text` says why."""

    name: str
    status: int
    text: str


def smoke(target: Target, model: str, *, version: int, stable: int, signature: str, clock: Clock) -> Judgement:
    """Send one row of zeros to `version` on every replica that should have it; first on one replica, because a request
    that crashes its server would crash the others too.

    A version fails if a replica rejects the request for it but not for the stable version, or does not respond. If
    stable rejects the zeros too, the test says nothing. Errors: TargetError when there is no such replica.
    """
    before = proof.end_counts(target)
    shared, own = target.model_config(), target.own_configs()
    assigned = {name: _versions(own.get(name, shared), model) for name in before}
    names = [name for name in before if version in assigned[name]]
    if not names:
        raise TargetError(f"no running replica has version {version}", hint="`deployer status` shows why")
    model_path = ModelPath(model=model, version=version)
    body = predict_body(target, names[0], model_path, signature=signature, timeout=SMOKE_TIMEOUT)
    found: list[_Reply] = []
    while names and not found:
        first, *names = names
        found = _of_existing(target, [_predict(target, first, model, version, body)], before, clock)
    if found and found[0].status:
        with ThreadPoolExecutor(PARALLEL_REPLICAS) as pool:
            others = list(pool.map(lambda name: _predict(target, name, model, version, body), names))
        found += _of_existing(target, others, before, clock)
    failed = [f"{reply.name}: {reply.text}" for reply in found if reply.status != 200]
    if not failed:
        return Judgement(gate=SMOKE, verdict=Verdict.PASS, numbers=f"{len(found)} of {len(found)} replicas respond")
    reference = next((name for name in before if stable in assigned[name]), found[0].name)
    if all(reply.status for reply in found) and _predict(target, reference, model, stable, body).status != 200:
        text = "stable rejects a row of zeros too, so the test says nothing"
        return Judgement(gate=SMOKE, verdict=Verdict.PASS, numbers=text)
    return Judgement(gate=SMOKE, verdict=Verdict.FAIL, numbers=shortened(failed))


def _of_existing(target: Target, replies: Sequence[_Reply], before: EndCounts, clock: Clock) -> list[_Reply]:
    """Without responses of replicas that no longer exist; for servers that have ended, with the reason."""
    found = []
    for reply in replies:
        if reply.status:
            found.append(reply)
        elif (how := _how_ended(target, reply.name, before, clock)) is not None:
            found.append(replace(reply, text=f"its server has ended: {how}") if how else reply)
    return found


def _how_ended(target: Target, name: str, before: EndCounts, clock: Clock) -> str | None:
    """How the server of an unreachable replica ended; empty if it has not, None if the replica no longer exists."""
    deadline = clock.now() + END_REPORT_SECONDS
    while True:
        replica = next((replica for replica in alive(target) if replica.name == name), None)
        if replica is None:
            return None
        if replica.ends > before[name]:
            return replica.ended
        if clock.now() >= deadline:
            return ""
        clock.sleep(PROOF_POLL_SECONDS)


def _versions(model_config: str, model: str) -> tuple[int, ...]:
    models = ModelServerConfig.parse(model_config).models
    return next((m.policy.versions for m in models if m.name == model and isinstance(m.policy, Specific)), ())


def memory(target: Target, *, since: float = 0.0) -> float | None:
    """Bytes in use by the largest replica, measured after `since`; None if unknown for any replica."""
    readings = target.memory_readings()
    found = [readings.get(replica.name) for replica in alive(target)]
    known = [reading.size for reading in found if reading is not None and reading.at >= since]
    return float(max(known)) if known and len(known) == len(found) else None


def settled_memory(target: Target, *, since: float, clock: Clock, timeout: float) -> float | None:
    """`memory`, once every replica has been measured after `since`; a cluster only measures from time to time."""
    deadline = clock.now() + timeout
    while (found := memory(target, since=since)) is None and target.memory_readings() and clock.now() < deadline:
        clock.sleep(MEMORY_POLL_SECONDS)
    return found


def accuracy(target: Target, model: str, labelled: Path) -> tuple[float | None, str]:
    """The share of labelled records that canary predicts correctly through the gateways; or None, and why.

    Errors: SpecError for a file that cannot be read.
    """
    from deployer.release.predict import PredictRequest, predict  # slow to import, and a rollback does not need it

    try:
        found = predict(target, PredictRequest(model=model, records=labelled, label=CANARY), lambda _: None)
    except (TargetError, WaitTimeout) as error:
        return None, f"{error.message}: {error.cause}" if error.cause else error.message
    return found.accuracy, "" if found.accuracy is not None else f"no record of {labelled} has an expected value"


def _predict(target: Target, name: str, model: str, version: int, body: bytes) -> _Reply:
    path = ModelPath(model=model, version=version).predict_path
    try:
        reply = target.post(name, path, body, timeout=SMOKE_TIMEOUT)
    except DeployerError as error:
        return _Reply(name=name, status=0, text=error.message)
    return _Reply(name=name, status=reply.status, text=f"{reply.status} {reply.body[:200].decode(errors='replace')}")
