"""The status of a rollout that is written down."""

from __future__ import annotations

from deployer.domain.rollout import Phase, Rollout, RolloutRequest
from deployer.domain.serving import ModelState
from deployer.domain.verdict import Judgement, Verdict
from deployer.release.status import GatewayStatus, ReplicaStatus, Status
from deployer.rollout.status import RolloutStatus
from deployer.rollout.steps import Kind, plan
from deployer.targets.base import GatewayReplica, Replica
from deployer.targets.proof import Served

BASE = ModelState(versions=(1,), labels={"stable": 1}, weights={"stable": 100})
NUMBERS = "canary 23 ms [10, ∞], stable 26.5 ms [15, ∞]; 240 responses of canary, 240 responses of stable"


def replica(name: str, versions: dict[int, str], *, alive: bool = True) -> ReplicaStatus:
    served = (Served(model="scale", versions=versions, labels={"stable": 1, "canary": 2}),) if alive else ()
    return ReplicaStatus(replica=Replica(name=name, alive=alive), served=served, missing=())


def shown() -> RolloutStatus:
    request = RolloutRequest(to=2, shares=(5, 25, 50))
    verdict = Judgement(gate="p99<1.5*stable", verdict=Verdict.PASS, numbers=NUMBERS)
    rollout = Rollout(
        id="1", model="scale", base=BASE, request=request, who="ada", started=0, left=BASE, begun=True,
        position=6, phase=Phase.PROGRESSING, verdicts=(verdict,),
    )  # fmt: skip
    steps = plan(rollout)
    assert steps[6].kind is Kind.JUDGE
    gateways = (GatewayStatus(gateway=GatewayReplica(name="gateway-0", url=""), missing=()),)
    replicas = (
        replica("replica-0", {1: "AVAILABLE", 2: "AVAILABLE"}),
        replica("replica-1", {1: "AVAILABLE", 2: "LOADING"}),
        replica("replica-2", {}, alive=False),
    )
    weights = {"scale": {"canary": 5.0, "stable": 95.0}}
    release = Status(target="here", limit="none", replicas=replicas, gateways=gateways, weights=weights)
    return RolloutStatus(
        model="scale", rollout=rollout, at_work="ada (process 1)", step=7, steps=tuple(map(str, steps)),
        seconds_left=3000.0, window_left=12.0, release=release,
    )  # fmt: skip
