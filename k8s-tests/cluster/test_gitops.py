"""A release whose manifests others apply, every two seconds, while `deployer` rolls versions out and back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from eventually import eventually
from git_sync import FakeGitOps
from under_load import Release

from deployer.targets.cluster.api import pod_path
from deployer.targets.cluster.names import MODEL_SERVER
from deployer.targets.cluster.objects import Pod
from deployer.targets.cluster.target import ClusterTarget

ROOT = Path(__file__).resolve().parents[2]
SYNC_SECONDS = 2.0
MORE = """
models_source: live
autoscaling: {min_replicas: 2, max_replicas: 3, cpu_percent: 5000}
"""


def manifests(rendered: Path, namespace: str) -> list[dict[str, Any]]:
    """What `helm template` makes of both values files."""
    documents: list[dict[str, Any]] = []
    for chart in ("tf-serving", "gateway"):
        argv = [
            "helm",
            "template",
            f"demo-{chart}",
            str(ROOT / "charts" / chart),
            "--namespace",
            namespace,
            "--no-hooks",
        ]
        argv += ["-f", str(rendered / f"{chart}-values.yaml")]
        argv += ["--set", "rolloutAccess.enabled=true"] if chart == "tf-serving" else []
        text = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout
        documents += [document for document in yaml.safe_load_all(text) if document]
    return documents


class Setting:
    """The release, its files, and who applies them."""

    def __init__(self, file: Path, rendered: Path, target: ClusterTarget, git: FakeGitOps, release: Release) -> None:
        self.file, self.rendered, self.target, self.git, self.release = file, rendered, target, git, release

    def scale_out(self, replicas: int) -> None:
        """As the autoscaler does it: through the scale of the Deployment."""
        path = (
            f"/apis/apps/v1/namespaces/{self.target.place.namespace}/deployments/{self.target.names.tf_serving}/scale"
        )
        self.target.api.patch(path, {"spec": {"replicas": replicas}})


@pytest.fixture(scope="module")
def setting(
    cluster: Any,
    deployer: Any,
    digits: Any,
    new_namespace: Any,
    claim_of: Callable[..., str],
    describe: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Setting:
    """Version 1 of `digits`; Helm knows nothing of it."""
    namespace = new_namespace("gitops")
    file = describe(claim_of(namespace), replicas=2, gateways=2, more=MORE)
    rendered = tmp_path_factory.mktemp("git") / "shop"
    assert deployer("render", "-f", file, "--version", "digits=1", "--output-dir", rendered).code == 0
    subprocess.run(["git", "init", "-q", str(rendered.parent)], check=True, timeout=30)
    target = ClusterTarget.open("demo", cluster.place(namespace))
    git = FakeGitOps(target.api, namespace, manifests(rendered, namespace))
    git.sync()
    assert git.refused == []
    first = deployer(
        *("deploy", "-f", file, "--from-values", rendered, "--storage-image", cluster.image("gateway"))
    ).result["deployed"]
    assert first["revisions"] == {}
    assert [(proof["label"], proof["version"]) for proof in first["proofs"]] == [("stable", 1)]
    assert target.helm.tf_serving() is None
    release = Release(target=target, image=cluster.image("deployer"), records=digits.records)
    return Setting(file, rendered, target, git, release)


def test_syncs_change_nothing_while_versions_go_out_and_back_and_replicas_are_added(
    setting: Setting, deployer: Any
) -> None:
    options = ("-f", setting.file, "--target", "cluster")
    with setting.git.every(SYNC_SECONDS), setting.release.load(20) as load:
        before = setting.git.syncs
        forward = deployer(
            *("rollout", "start", "digits", "--to", "2", "--steps", "50", "--soak", "6s", "--no-gates"),
            *("--commit-to", setting.rendered, *options),
        ).result
        assert forward["outcome"] == "promoted"
        assert deployer("diff", "--values", setting.rendered, "-f", setting.file).result["agree"]
        setting.scale_out(3)
        eventually(lambda: sum(pod.ready for pod in setting.target.pods(MODEL_SERVER)) == 3, "a third replica")
        back = deployer("rollback", "digits", *options).result
        assert back["outcome"] == "rolled back"
        assert setting.git.syncs > before + 5

    assert load.outcome is not None
    assert load.outcome.errors == {}, load.outcome.first_error
    assert setting.git.refused == []
    log = subprocess.run(
        ["git", "-C", str(setting.rendered), "log", "--format=%s"], check=True, capture_output=True, text=True
    ).stdout
    assert log.splitlines() == ["digits: version 2 promoted"]
    differing = deployer("diff", "--values", setting.rendered, "-f", setting.file)
    assert differing.code == 6, "the rollback was not committed"
    assert {found["what"] for found in differing.document["result"]["differences"]} >= {"labels"}


def test_a_rollout_runs_inside_the_cluster_with_the_rights_of_the_chart(
    setting: Setting, cluster: Any, deployer: Any
) -> None:
    namespace, api = setting.target.place.namespace, setting.target.api
    text = setting.file.read_text()
    config = {"metadata": {"name": "release"}, "data": {"deployer.yaml": text}}
    api.create(f"/api/v1/namespaces/{namespace}/configmaps", config)
    argv = [
        "python",
        "-m",
        "deployer.cli",
        "rollout",
        "start",
        "digits",
        "--to",
        "2",
        "--steps",
        "50",
        "--soak",
        "2s",
        "--no-gates",
    ]
    argv += ["-f", "/release/deployer.yaml", "--target", "cluster", "-q", "-o", "json"]
    container = {
        "name": "deployer",
        "image": cluster.image("deployer"),
        "imagePullPolicy": "IfNotPresent",
        "command": argv,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "release", "mountPath": "/release"}, {"name": "tmp", "mountPath": "/tmp"}],
        "env": [{"name": "HOME", "value": "/tmp"}],
    }
    pod = {
        "metadata": {"name": "rollout"},
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": "demo-tf-serving-deployer",
            "automountServiceAccountToken": True,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "release", "configMap": {"name": "release"}}, {"name": "tmp", "emptyDir": {}}],
        },
    }
    api.create(pod_path(namespace), pod)

    def ended() -> bool:
        found = api.find(pod_path(namespace, "rollout"), Pod)
        return found is not None and found.status.phase in ("Succeeded", "Failed")

    eventually(ended, "the rollout inside the cluster", seconds=180)
    log = api.call("GET", f"{pod_path(namespace, 'rollout')}/log").decode()
    assert json.loads(log).get("result", {}).get("outcome") == "promoted", log
