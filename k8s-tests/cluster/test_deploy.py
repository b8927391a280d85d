"""The main job in a cluster: deploy, status, predict, deploy again, upgrade, uninstall."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from eventually import eventually

from deployer.domain.serving import ServingConfig
from deployer.release.render.readback import state_of
from deployer.targets.cluster import proof
from deployer.targets.cluster.names import MODEL_SERVER
from deployer.targets.cluster.objects import Pod, Pvc
from deployer.targets.cluster.target import ClusterTarget
from gateway.settings import parse_settings
from tfserving.config import ModelConfig, ModelServerConfig, Specific


def ignore(_: str) -> None:
    """Progress that nobody reads."""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The release that the tests of this module share, as its first deployment left it."""

    file: Path
    store: str
    namespace: str
    first: dict[str, Any]
    target: ClusterTarget

    def revisions(self) -> tuple[int, int]:
        """Helm revisions of the model servers and of the gateways."""
        serving, gateway = self.target.helm.tf_serving(), self.target.helm.gateway()
        assert serving is not None
        assert gateway is not None
        return serving.revision, gateway.revision

    def state(self) -> ServingConfig:
        """Versions, labels and weights in force."""
        return state_of(self.target.model_config(), self.target.gateway_config())


@pytest.fixture(scope="module")
def installed(
    cluster: Any, deployer: Any, new_namespace: Any, claim_of: Callable[..., str], describe: Callable[..., Path]
) -> Installed:
    """`digits` version 1 on two replicas behind one gateway, in a namespace that admits only restricted pods."""
    namespace = new_namespace("deploy")
    store = claim_of(namespace)
    file = describe(store, replicas=2)
    done = deployer("deploy", "-f", file, "--version", "digits=1", "--storage-image", cluster.image("gateway"))
    target = ClusterTarget.open("demo", cluster.place(namespace))
    return Installed(file=file, store=store, namespace=namespace, first=done.result, target=target)


def test_a_deployment_ends_with_a_predict_for_each_label(installed: Installed) -> None:
    proofs = installed.first["deployed"]["proofs"]

    assert installed.first["changed"]
    assert [(p["model"], p["label"], p["version"], p["refused"]) for p in proofs] == [("digits", "stable", 1, "")]
    assert installed.revisions() == (1, 1)


def test_status_asks_every_replica_and_gateway(installed: Installed, deployer: Any) -> None:
    found = deployer("status", "-f", installed.file, "--target", "cluster").result

    assert found["healthy"]
    served = [one for replica in found["status"]["replicas"] for one in replica["served"]]
    assert [one["versions"] for one in served] == [{"1": "AVAILABLE"}] * 2
    assert [one["labels"] for one in served] == [{"stable": 1}] * 2
    assert len(found["status"]["gateways"]) == 1


def test_records_go_through_the_gateway(installed: Installed, deployer: Any, digits: Any) -> None:
    found = deployer(
        *("predict", "digits", "--records", digits.records, "-f", installed.file, "--target", "cluster")
    ).result

    assert found["versions"] == {"1": len(found["answers"])}
    assert found["accuracy"] > 0.75  # version 1 is the weaker one of the sample


def test_a_second_deployment_changes_nothing(installed: Installed, deployer: Any) -> None:
    before = installed.revisions()

    again = deployer("deploy", "-f", installed.file).result

    assert not again["changed"]
    assert [p["version"] for p in again["deployed"]["proofs"]] == [1]
    assert installed.revisions() == before


def test_a_dry_run_shows_the_difference_and_makes_none(
    installed: Installed, deployer: Any, describe: Callable[..., Path]
) -> None:
    before = installed.revisions()
    file = describe(installed.store, replicas=3)

    planned = deployer("deploy", "-f", file, "--dry-run").result

    assert planned["changes"] == ["demo-tf-serving"]
    assert "-  replicas: 2\n+  replicas: 3" in planned["diff"]
    assert installed.revisions() == before


def test_deploy_never_moves_the_version_of_a_live_model(installed: Installed, deployer: Any) -> None:
    refused = deployer("deploy", "-f", installed.file, "--version", "digits=2").error

    assert refused["exit_code"] == 2
    assert "deploy does not change its versions" in refused["message"]
    assert installed.state().models["digits"].versions == (1,)


def test_too_little_memory_is_refused_with_the_numbers(
    cluster: Any, installed: Installed, deployer: Any, describe: Callable[..., Path]
) -> None:
    file = describe(installed.store, replicas=2, memory="256Mi")

    refused = deployer("deploy", "-f", file, "--storage-image", cluster.image("gateway")).error

    assert refused["exit_code"] == 3
    assert "256Mi is too little" in refused["message"]
    assert "600 Mi for the server" in refused["message"]


def test_a_batch_smaller_than_the_warm_up_is_refused(
    cluster: Any, installed: Installed, deployer: Any, describe: Callable[..., Path]
) -> None:
    file = describe(installed.store, replicas=2, more="batching: {max_batch_size: 16}")

    refused = deployer("deploy", "-f", file, "--storage-image", cluster.image("gateway")).error

    assert refused["exit_code"] == 3
    assert "warms up with 32 rows, but batching.max_batch_size is 16" in refused["message"]


def test_an_upgrade_replaces_the_pods_and_keeps_the_versions(
    cluster: Any, installed: Installed, deployer: Any, describe: Callable[..., Path]
) -> None:
    pods = {pod.name for pod in installed.target.pods(MODEL_SERVER)}
    file = describe(installed.store, replicas=2, more="batching: {max_batch_size: 64}")

    upgraded = deployer("deploy", "-f", file, "--storage-image", cluster.image("gateway")).result

    assert upgraded["changed"]
    assert not pods & {pod.name for pod in installed.target.pods(MODEL_SERVER) if not pod.terminating}
    assert installed.state().models["digits"].labels == {"stable": 1}
    back = deployer("deploy", "-f", installed.file, "--storage-image", cluster.image("gateway"))
    assert back.result["changed"]


def digits_config(*versions: int, **labels: int) -> ModelServerConfig:
    """A model_config of `digits`."""
    policy = Specific(versions=versions)
    return ModelServerConfig(
        models=(ModelConfig(name="digits", base_path="/models/digits", policy=policy, labels=labels),)
    )


def test_a_new_model_config_reaches_every_replica_quickly(
    installed: Installed, record_property: Callable[[str, object], None]
) -> None:
    """First the version, then its label, on four replicas. The figures are how long all of them took to prove it, from
    the end of `helm upgrade`."""
    target = installed.target
    target.scale(4, timeout=120, progress=ignore)

    for step, wanted in {
        "version": digits_config(1, 2, stable=1),
        "label": digits_config(1, 2, stable=1, canary=2),
    }.items():
        target.put_model_config(wanted.to_text())
        began = time.monotonic()
        target.wait(
            partial(proof.replicas, target, wanted),
            what="proof",
            deadline=began + 60,
            progress=ignore,
        )
        record_property(f"seconds until 4 replicas proved a new {step}", f"{time.monotonic() - began:.2f}")

    assert installed.state().models["digits"].labels == {"stable": 1, "canary": 2}


def test_a_deployment_sets_the_scale_and_keeps_what_a_rollout_moved(
    cluster: Any, installed: Installed, deployer: Any
) -> None:
    """Four replicas become two again; the version that came meanwhile stays, and the gateway learns its spec."""
    done = deployer("deploy", "-f", installed.file, "--storage-image", cluster.image("gateway")).result["deployed"]

    assert set(done["revisions"]) == {"demo-tf-serving", "demo-gateway"}
    assert len([pod for pod in installed.target.pods(MODEL_SERVER) if not pod.terminating]) == 2
    assert installed.state().models["digits"].labels == {"stable": 1, "canary": 2}
    assert [(p["label"], p["version"]) for p in done["proofs"]] == [("canary", 2), ("stable", 1)]
    assert set(parse_settings(installed.target.gateway_config()).models["digits"].specs) == {"1", "2"}


def test_a_deployment_repairs_a_scale_that_somebody_changed(installed: Installed, deployer: Any) -> None:
    installed.target.scale(3, timeout=120, progress=ignore)

    done = deployer("deploy", "-f", installed.file).result["deployed"]

    assert done["revisions"] == {}
    assert done["repairs"] == ["demo-tf-serving has 3 replicas instead of 2"]
    assert len([pod for pod in installed.target.pods(MODEL_SERVER) if not pod.terminating]) == 2


def test_an_image_that_cannot_be_pulled_is_named(
    installed: Installed, deployer: Any, describe: Callable[..., Path]
) -> None:
    text = (
        describe(installed.store, replicas=2)
        .read_text()
        .replace("gateway:\n  image: {tag: ", "gateway:\n  image: {tag: no-")
    )
    file = installed.file.with_name("broken.yaml")
    file.write_text(text)

    failed = deployer("deploy", "-f", file, "--timeout", "20s").error

    assert failed["exit_code"] == 8
    assert "ErrImagePull" in failed["cause"] or "ImagePullBackOff" in failed["cause"]
    assert deployer("status", "-f", installed.file, "--target", "cluster").code == 6
    assert deployer("deploy", "-f", installed.file).result["changed"]


def test_uninstalling_keeps_only_the_pvc(cluster: Any, installed: Installed) -> None:
    """Last in this module: nothing of the release is left afterwards but its models."""
    target, namespace = installed.target, installed.namespace

    target.helm.uninstall(timeout=120)

    pods = f"/api/v1/namespaces/{namespace}/pods"
    eventually(lambda: not cluster.api.list(pods, Pod), "no pods are left", seconds=90)
    pvcs = cluster.api.list(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", Pvc)
    assert [(pvc.metadata.name, pvc.status.phase) for pvc in pvcs] == [("models", "Bound")]
    for collection in ("api/v1/services", "apis/apps/v1/deployments", "apis/policy/v1/poddisruptionbudgets"):
        group, _, kind = collection.rpartition("/")
        assert not cluster.api.list(f"/{group}/namespaces/{namespace}/{kind}", Pod)
