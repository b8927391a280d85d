"""What `deployer status` says first: the phase, and where the latest rollout of each model stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deployer.cli.verbs.release.status import whole
from deployer.domain.history import History
from deployer.domain.rollout import Course, Phase, Rollout, RolloutRequest
from deployer.domain.serving import ModelState
from deployer.release.status import GatewayStatus, ReplicaStatus, Status
from deployer.rollout.overview import ModelPhase, Overview, of_histories
from deployer.targets.base import GatewayReplica, Replica
from deployer.targets.history import FileHistory
from deployer.targets.proof import Served

BASE = ModelState(versions=(1,), labels={"stable": 1}, weights={"stable": 100})


def release(*missing: str) -> Status:
    served = (Served(model="loan", versions={1: "AVAILABLE"}, labels={"stable": 1}),)
    replica = ReplicaStatus(replica=Replica(name="replica-0"), served=served, missing=missing)
    gateway = GatewayStatus(gateway=GatewayReplica(name="gateway-0", url="http://g"), missing=())
    weights = {"tumor": {"stable": 100.0}}
    return Status(target="here", limit="none", replicas=(replica,), gateways=(gateway,), weights=weights)


def rollout(phase: Phase, *, course: Course = Course.FORWARD, reason: str = "") -> History:
    request = RolloutRequest(to=2, shares=(50,))
    made = Rollout(id="1", model="loan", base=BASE, request=request, who="ada", started=0, left=BASE)
    return History(rollout=replace(made, phase=phase, course=course, reason=reason))


def found(tmp_path: Path, history: History | None, *missing: str) -> Overview:
    histories = FileHistory(tmp_path)
    if history is not None:
        histories.write("loan", history)
    return of_histories(release(*missing), histories)


def test_a_release_without_rollouts_is_healthy_or_degraded(tmp_path: Path) -> None:
    healthy = found(tmp_path, None)
    assert healthy.phase is Phase.HEALTHY
    assert [(m.model, m.rollout) for m in healthy.models] == [("loan", ""), ("tumor", "")]
    assert found(tmp_path, None, "version 1 is LOADING").phase is Phase.DEGRADED


def test_without_a_gateway_or_a_replica_nothing_is_healthy(tmp_path: Path) -> None:
    alone = replace(release(), gateways=())
    assert alone.missing == ("no gateway is running",)
    assert replace(release(), replicas=()).missing == ("no replica is running",)
    assert of_histories(alone, FileHistory(tmp_path)).phase is Phase.DEGRADED


@pytest.mark.parametrize("phase", [Phase.PAUSED, Phase.PROGRESSING, Phase.DEGRADED])
def test_the_gravest_model_decides(tmp_path: Path, phase: Phase) -> None:
    assert found(tmp_path, rollout(phase)).phase is phase


def test_what_a_rollout_is_changing_is_no_illness(tmp_path: Path) -> None:
    assert found(tmp_path, rollout(Phase.PROGRESSING), "version 2 is LOADING").phase is Phase.PROGRESSING
    assert found(tmp_path, rollout(Phase.PAUSED), "version 2 is LOADING").phase is Phase.DEGRADED


def test_a_person_reads_the_phase_first_and_how_the_last_rollout_ended(tmp_path: Path) -> None:
    text = whole(found(tmp_path, rollout(Phase.HEALTHY, course=Course.ABORT, reason="gate p99<1ms failed")))
    assert text.startswith("Healthy: here\n")
    assert "loan    Healthy   version 1 → 2: aborted (gate p99<1ms failed)" in text
    assert "tumor   Healthy   -" in text


def test_a_ledger_that_cannot_be_read_hides_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "loan.json").write_text("{")
    shown = found(tmp_path, None)
    assert shown.models[0] == ModelPhase(
        model="loan", phase=Phase.DEGRADED, rollout=f"{tmp_path / 'loan.json'} is not a rollout history"
    )
    assert shown.phase is Phase.DEGRADED
