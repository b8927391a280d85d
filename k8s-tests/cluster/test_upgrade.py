"""From an earlier version of the charts to this one, by `deployer deploy`.

Nothing has been released yet. The two archives in `data/` are the charts as they were on the day that they first had
alerts and notes (commit 4c98d7f), packaged as version 0.0.1; the first release replaces them.
"""

from __future__ import annotations

import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from deployer.domain.serving import ModelState, ServingConfig
from deployer.release import spec
from deployer.release.render import render_release
from deployer.targets.cluster import proof
from deployer.targets.cluster.helm_releases import GATEWAY_CHART, TF_SERVING_CHART, HelmReleases
from deployer.targets.cluster.objects import Pvc
from deployer.targets.cluster.target import ClusterTarget
from deployer.tools.helm import Helm

DATA = Path(__file__).parent / "data"
STATE = ServingConfig(models={"digits": ModelState(versions=(1,), labels={"stable": 1}, weights={"stable": 100})})


def test_a_release_of_an_earlier_chart_is_upgraded_and_keeps_its_versions(
    cluster: Any,
    deployer: Any,
    new_namespace: Any,
    claim_of: Callable[..., str],
    describe: Callable[..., Path],
    tmp_path: Path,
) -> None:
    for archive in DATA.glob("*-0.0.1.tgz"):
        with tarfile.open(archive) as packed:
            packed.extractall(tmp_path, filter="data")
    namespace = new_namespace("upgrade")
    file, place = describe(claim_of(namespace)), cluster.place(namespace)
    target = ClusterTarget.open("demo", place)
    helm = Helm(namespace=namespace, context=place.context, kubeconfig=place.kubeconfig)
    earlier = HelmReleases(target.names, helm, charts=tmp_path)
    rendered = render_release(spec.load(file), STATE, {}).files
    for chart in (TF_SERVING_CHART, GATEWAY_CHART):
        earlier.apply(earlier.change(chart, yaml.safe_load(rendered[f"{chart}-values.yaml"])))
    target.wait(
        lambda: proof.replicas(target, proof.parsed(target.model_config())),
        what="the earlier release",
        deadline=time.monotonic() + 120,
        progress=lambda _: None,
    )

    deployed = deployer("deploy", "-f", file, "--storage-image", cluster.image("gateway")).result["deployed"]

    assert deployed["revisions"] == {"demo-tf-serving": 2, "demo-gateway": 2}
    assert [(p["label"], p["version"]) for p in deployed["proofs"]] == [("stable", 1)]
    for chart, found in ((TF_SERVING_CHART, target.helm.tf_serving()), (GATEWAY_CHART, target.helm.gateway())):
        assert found is not None
        assert f"helm.sh/chart: {chart}-0.0.1" not in found.manifest
    pvcs = cluster.api.list(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", Pvc)
    assert [(pvc.metadata.name, pvc.status.phase) for pvc in pvcs] == [("models", "Bound")]
