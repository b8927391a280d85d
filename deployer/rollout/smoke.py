"""Asking a version that has no traffic yet: one smoke request on every replica, its memory, its accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from deployer.domain.rollout import CANARY
from deployer.domain.verdict import Judgement, Verdict
from deployer.errors import DeployerError, TargetError
from deployer.release.smoke import predict_body
from deployer.rollout import proof
from deployer.rollout.proof import PARALLEL, POLL_SECONDS, Clock, Ends, alive
from deployer.targets.base import Target
from deployer.targets.rest import Asked
from deployer.targets.waiting import shortened
from tfserving.config import ModelServerConfig, Specific

TIMEOUT = 30.0
SMOKE = "smoke"
MEASURE_SECONDS = 1.0

TOLD_SECONDS = 5.0
"""Until a kubelet has told that a container has ended."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """Of one replica; `status` 0 is a silence, and `said` why."""

    name: str
    status: int
    text: str


def smoke(target: Target, model: str, *, version: int, stable: int, signature: str, clock: Clock) -> Judgement:
    """One row of zeros to `version` on every replica that is to hold it; on one of them first, for what ends that
    server would end all others.

    A version fails when a replica refuses what it answers for the stable version, or does not answer at all; when
    stable refuses zeros too, they say nothing. Errors: TargetError when there is no such replica.
    """
    before = proof.ends(target)
    shared, own = target.model_config(), target.own_configs()
    held = {name: _versions(own.get(name, shared), model) for name in before}
    names = [name for name in before if version in held[name]]
    if not names:
        raise TargetError(f"no replica runs with version {version}", hint="`deployer status` shows why")
    body = predict_body(target, names[0], Asked(model=model, version=version), signature=signature, timeout=TIMEOUT)
    found: list[_Answer] = []
    while names and not found:
        first, *names = names
        found = _present(target, [_answer(target, first, model, version, body)], before, clock)
    if found and found[0].status:
        with ThreadPoolExecutor(PARALLEL) as pool:
            others = list(pool.map(lambda name: _answer(target, name, model, version, body), names))
        found += _present(target, others, before, clock)
    refused = [f"{one.name}: {one.text}" for one in found if one.status != 200]
    if not refused:
        return Judgement(gate=SMOKE, verdict=Verdict.PASS, numbers=f"{len(found)} of {len(found)} replicas answer")
    beside = next((name for name in before if stable in held[name]), found[0].name)
    if all(one.status for one in found) and _answer(target, beside, model, stable, body).status != 200:
        text = "a row of zeros is refused by stable, too, and proves nothing"
        return Judgement(gate=SMOKE, verdict=Verdict.PASS, numbers=text)
    return Judgement(gate=SMOKE, verdict=Verdict.FAIL, numbers=shortened(refused))


def _present(target: Target, answers: Sequence[_Answer], before: Ends, clock: Clock) -> list[_Answer]:
    """Without those of replicas that have left; with the reason of a silence, where the server has ended."""
    found = []
    for one in answers:
        if one.status:
            found.append(one)
        elif (how := _fate(target, one.name, before, clock)) is not None:
            found.append(replace(one, text=f"its server has ended: {how}") if how else one)
    return found


def _fate(target: Target, name: str, before: Ends, clock: Clock) -> str | None:
    """How the server of a silent replica has ended; empty when it has not, None when the replica is not there."""
    deadline = clock.now() + TOLD_SECONDS
    while True:
        replica = next((one for one in alive(target) if one.name == name), None)
        if replica is None:
            return None
        if replica.ends > before[name]:
            return replica.ended
        if clock.now() >= deadline:
            return ""
        clock.sleep(POLL_SECONDS)


def _versions(model_config: str, model: str) -> tuple[int, ...]:
    models = ModelServerConfig.parse(model_config).models
    return next((m.policy.versions for m in models if m.name == model and isinstance(m.policy, Specific)), ())


def memory(target: Target, *, since: float = 0.0) -> float | None:
    """Bytes in use by the largest replica; None where that is not known of all, or not yet since a moment."""
    readings = target.memory_readings()
    found = [readings.get(replica.name) for replica in alive(target)]
    known = [reading.size for reading in found if reading is not None and reading.at >= since]
    return float(max(known)) if known and len(known) == len(found) else None


def settled_memory(target: Target, *, since: float, clock: Clock, timeout: float) -> float | None:
    """`memory` once every replica has been measured after a moment; a cluster measures now and then."""
    deadline = clock.now() + timeout
    while (found := memory(target, since=since)) is None and target.memory_readings() and clock.now() < deadline:
        clock.sleep(MEASURE_SECONDS)
    return found


def accuracy(target: Target, model: str, labelled: Path) -> tuple[float | None, str]:
    """The share of labelled records that canary gets right through the gateways; or None, and why it gave no answer.

    Errors: SpecError for a file that cannot be read.
    """
    from deployer.release.predict import PredictRequest, predict  # slow to import; a rollback does without

    try:
        found = predict(target, PredictRequest(model=model, records=labelled, label=CANARY), lambda _: None)
    except TargetError as error:
        return None, f"{error.message}: {error.cause}" if error.cause else error.message
    return found.accuracy, "" if found.accuracy is not None else f"no record of {labelled} says what it expects"


def _answer(target: Target, name: str, model: str, version: int, body: bytes) -> _Answer:
    try:
        reply = target.post(name, Asked(model=model, version=version).predict_path, body, timeout=TIMEOUT)
    except DeployerError as error:
        return _Answer(name=name, status=0, text=error.message)
    return _Answer(name=name, status=reply.status, text=f"{reply.status} {reply.body[:200].decode(errors='replace')}")
