"""`deployer doctor` on snapshots that were recorded from sick releases on a real cluster (`--keep`), and locally."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import yaml
from msgspec.structs import replace as replace_struct

from deployer.cli.verbs.release.doctor import text
from deployer.release.doctor.cluster import diagnose
from deployer.release.doctor.doctor import read
from deployer.release.doctor.finding import Diagnosis, Finding, Severity, merged
from deployer.targets.cluster.objects import Autoscaler, AutoscalerStatus, Condition, Meta
from deployer.targets.cluster.state.snapshot import ClusterSnapshot

SICK = Path(__file__).with_name("recorded")
RECORDED = {
    "image": ("image tfserving-deployer/modelserver:nope cannot be pulled", "registry-1.docker.io", "imagePullSecrets"),
    "unbound": ("PVC unbound-tf-serving-models is not bound", '"absent" not found', "kubectl get storageclass"),
    "noclaim": ("PVC nothere does not exist", "no PersistentVolumeClaim nothere", "--to pvc://c2-doc/nothere"),
    "missing": ("versions of model digits are missing from the store", "below /models/digits", "deployer publish"),
    "partly": (
        "version 9 of model digits is missing from the store",
        "cannot find /models/digits/9",
        "publish digits --version 9",
    ),
    "corrupt": ("version 7 of model digits cannot be loaded", "Read less bytes", "models verify digits --version 7"),
    "label": (
        "label canary of model digits points to a version that is not served",
        "points to version 9",
        "deployer rollback",
    ),
    "oom": ("out of memory", "its memory limit of 48Mi and has restarted", "raise serving.resources.memory"),
    "cpu": ("no node has enough free CPU", "The pod requests 100 cpu", "run fewer replicas"),
    "gpu": ("no node has a free GPU", "Insufficient nvidia.com/gpu", "device plug-in"),
    "hpa": ("the autoscaler has no metrics", "unable to get metric nothing", "metrics-server"),
    "gateway": ("a gateway rejected its new configuration", "unknown key 'nonsense'", "deployer deploy"),
    "stale": ("a gateway uses an old configuration", "the current one is", "the kubelet updates"),
}


def recorded(name: str) -> ClusterSnapshot:
    return read(SICK / f"{name}.json")


@pytest.mark.parametrize("name", RECORDED)
def test_an_unhealthy_release_is_explained_by_its_cause_alone(name: str) -> None:
    found = diagnose(recorded(name), target="demo")

    (only,) = [finding for finding in found.findings if finding.severity is Severity.ERROR]
    cause, evidence, remedy = RECORDED[name]
    assert only.cause.startswith(cause)
    assert evidence in only.evidence
    assert remedy in only.remedy
    assert only.subjects
    assert not found.healthy


def test_every_recorded_snapshot_is_tested() -> None:
    assert {path.stem for path in SICK.glob("*.json")} == set(RECORDED)


def test_a_release_without_symptoms_is_healthy() -> None:
    sick = recorded("partly")
    config = sick.serving.model_config.replace("        versions: 9\n", "")
    cured = replace(sick, serving=replace(sick.serving, model_config=config))
    assert config != sick.serving.model_config

    found = diagnose(cured, target="demo")

    assert found.healthy
    assert found.findings == ()
    assert text(found) == "demo\n\nnothing is wrong"


def test_a_routed_label_that_model_config_does_not_have_dangles() -> None:
    sick = recorded("label")
    settings = yaml.safe_load(sick.serving.gateway_config)
    settings["models"]["digits"]["labels"]["beta"] = 1
    settings["models"]["digits"]["routing"]["weights"]["beta"] = 10
    routed = replace(sick, serving=replace(sick.serving, gateway_config=yaml.safe_dump(settings)))

    (finding,) = [f for f in diagnose(routed, target="demo").findings if "beta" in f.cause]

    assert finding.cause == "gateways route to label beta of model digits, which does not exist"
    assert "weight is 10" in finding.evidence


def test_a_pod_that_was_killed_for_memory_and_serves_again_is_a_warning() -> None:
    sick = recorded("oom")
    containers = [tuple(replace_struct(c, ready=True) for c in pod.status.container_statuses) for pod in sick.pods]
    well = [
        replace_struct(pod, status=replace_struct(pod.status, container_statuses=ready))
        for pod, ready in zip(sick.pods, containers, strict=True)
    ]

    found = diagnose(replace(sick, pods=tuple(well)), target="demo")

    assert [(one.cause, one.severity) for one in found.findings] == [("out of memory", Severity.WARNING)]
    assert found.healthy


def test_a_config_that_nobody_can_read_is_named() -> None:
    sick = recorded("partly")
    broken = replace(sick.serving, model_config="model_config_list {", gateway_config="models: 3")

    causes = {finding.cause for finding in diagnose(replace(sick, serving=broken), target="demo").findings}

    assert {
        "the current model_config cannot be parsed",
        "the current gateway configuration is invalid",
    } <= causes


def test_a_ready_pod_that_does_not_respond_is_a_finding() -> None:
    sick = recorded("partly")
    ((name, view),) = sick.serving.replicas.items()
    silent = replace(sick.serving, replicas={name: replace(view, served=(), unreachable="timed out")})

    (finding,) = diagnose(replace(sick, serving=silent), target="demo").findings

    assert (finding.cause, finding.evidence) == ("it is running but does not respond", "timed out")


def test_a_full_autoscaler_is_worth_a_note_and_no_more() -> None:
    full = Autoscaler(
        metadata=Meta(name="demo"),
        status=AutoscalerStatus(
            conditions=(
                Condition(type="ScalingLimited", status="True", reason="TooManyReplicas", message="at the top"),
            )
        ),
    )
    sick = recorded("partly")
    config = sick.serving.model_config.replace("        versions: 9\n", "")
    seen = replace(sick, autoscalers=(full,), serving=replace(sick.serving, model_config=config))

    found = diagnose(seen, target="demo")

    assert [finding.severity for finding in found.findings] == [Severity.NOTE]
    assert found.healthy


def test_pods_that_cannot_be_created_are_explained_by_the_deployment() -> None:
    sick = recorded("cpu")
    condition = Condition(type="ReplicaFailure", status="True", message='forbidden: violates PodSecurity "restricted"')
    deployment = sick.deployments[0]
    refused = msgspec.structs.replace(
        deployment, status=msgspec.structs.replace(deployment.status, conditions=(condition,))
    )

    found = diagnose(replace(sick, deployments=(refused,), pods=()), target="demo")

    assert found.findings[0].cause == "pods cannot be created"
    assert "PodSecurity" in found.findings[0].evidence


def test_the_same_cause_is_listed_once_with_all_its_subjects_and_the_worst_first() -> None:
    def finding(pod: str, severity: Severity = Severity.ERROR) -> Finding:
        return Finding(cause=f"{severity}", subjects=(pod,), evidence="e", remedy="r", severity=severity)

    found = merged([finding("n", Severity.NOTE), finding("a"), finding("b"), finding("a")])

    assert [(f.cause, f.subjects) for f in found] == [("error", ("a", "b")), ("note", ("n",))]
    assert "where:  a, b" in text(Diagnosis(target="demo", findings=found))
