"""`pods` of deployer.yaml: every pod of a release, and of the deployer itself, has what the cluster demands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import kubernetes_validate
import pytest
import yaml

from deployer.cli.options.pvc import PodOptions
from deployer.domain.location import PvcStore
from deployer.domain.pods import Pods
from deployer.domain.release import Release
from deployer.domain.serving import ModelState, ServingConfig
from deployer.errors import SpecError
from deployer.experiment.loadgen.remote import load_agent
from deployer.release import spec
from deployer.release.render import render_release
from deployer.targets.cluster.agent_job import job_manifest
from deployer.targets.storage.pod import pod_manifest

STATE = ServingConfig(models={"loan": ModelState(versions=(1,), labels={"stable": 1}, weights={"stable": 100})})
TOKEN = "f" * 64
STORE = PvcStore(namespace="ml", pvc="models", subpath="")
HOSTILE = """
pods:
  node_selector: {pool: ml}
  tolerations: [{key: dedicated, value: ml, effect: NoSchedule}]
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a]}]}]
  priority_class: ml
  runtime_class: gvisor
  scheduler: bin-packer
  image_pull_secrets: [regcred]
  service_account: ml-pods
  labels: {cost-centre: vision}
  annotations: {sidecar.istio.io/inject: "false"}
  user: assigned
  cpu_limit: "2"
"""

Render = Callable[..., list[dict[str, Any]]]
Templates = dict[str, dict[str, Any]]


def release_with(tmp_path: Path, more: str) -> Release:
    return spec.parse("release: demo\nnamespace: ml\nstore: pvc://ml/models\nmodels: [loan]\n" + more, tmp_path)


@pytest.fixture
def templates(tmp_path: Path, render: Render) -> Callable[[str], Templates]:
    """Metadata and spec of every pod by its name here: of both charts, of their tests, on a PVC, and for load."""

    def run(more: str) -> Templates:
        release = release_with(tmp_path, more)
        files = render_release(release, STATE, {"loan": {}}).files
        found: Templates = {}
        for chart in ("tf-serving", "gateway"):
            path = tmp_path / f"{chart}-{abs(hash(files[f'{chart}-values.yaml']))}.yaml"
            path.write_text(files[f"{chart}-values.yaml"])
            objects = render(chart, "-f", str(path), release=f"demo-{chart}")
            found[chart] = next(o["spec"]["template"] for o in objects if o["kind"] == "Deployment")
            found[f"test of {chart}"] = next(o for o in objects if o["kind"] == "Pod")
        found["storage"] = pod_manifest(STORE, image="i:1", pods=release.pods, token=TOKEN)
        job = cast(dict[str, Any], job_manifest("demo", load_agent("i:1", release.pods), token=TOKEN))
        kubernetes_validate.validate({"apiVersion": "batch/v1", "kind": "Job", **job}, "1.30", strict=True)
        found["load"] = job["spec"]["template"]
        for pod in found.values():
            one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod["spec"]}
            kubernetes_validate.validate(one, "1.30", strict=True)
        return found

    return run


def test_every_pod_has_what_the_cluster_demands(templates: Callable[[str], Templates]) -> None:
    for name, pod in templates(HOSTILE).items():
        found, meta = pod["spec"], pod["metadata"]
        assert found["nodeSelector"]["pool"] == "ml", name
        assert found["tolerations"] == [{"key": "dedicated", "value": "ml", "effect": "NoSchedule"}], name
        assert found["affinity"]["nodeAffinity"], name
        assert found["priorityClassName"] == "ml", name
        assert found["runtimeClassName"] == "gvisor", name
        assert found["schedulerName"] == "bin-packer", name
        assert found["imagePullSecrets"] == [{"name": "regcred"}], name
        assert found["serviceAccountName"] == "ml-pods", name
        assert meta["labels"]["cost-centre"] == "vision", name
        assert meta["annotations"]["sidecar.istio.io/inject"] == "false", name
        assert found["securityContext"]["runAsNonRoot"] is True, name
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(found["securityContext"]), name


def test_without_the_section_pods_run_as_one_ordinary_user(templates: Callable[[str], Templates]) -> None:
    for name, pod in templates("").items():
        assert pod["spec"]["securityContext"]["runAsUser"] == 65532, name
        assert not {"tolerations", "priorityClassName", "imagePullSecrets"} & set(pod["spec"]), name


def test_a_user_is_the_user_of_every_pod(templates: Callable[[str], Templates]) -> None:
    for name, pod in templates("pods: {user: 1001}\n").items():
        security = pod["spec"]["securityContext"]
        assert (security["runAsUser"], security["runAsGroup"]) == (1001, 1001), name
        assert name == "load" or security["fsGroup"] == 1001, name


def test_a_quota_on_limits_is_met(templates: Callable[[str], Templates]) -> None:
    own = "serving: {resources: {cpu: 1, cpu_limit: true}, rollout_policy: resource-preserving}\n"
    own += "gateway: {resources: {cpu: 1, cpu_limit: true}}\n"
    for name, pod in templates(own + HOSTILE).items():
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            assert container["resources"]["limits"]["cpu"], name
            assert container["resources"]["limits"]["memory"], name
    (load,) = templates("")["load"]["spec"]["containers"]
    assert "cpu" not in load["resources"]["limits"], "a throttled load generator would measure itself"


def test_values_of_one_chart_take_precedence(templates: Callable[[str], Templates]) -> None:
    taint = {"key": "gpu", "operator": "Exists"}
    more = f"serving: {{values: {{tolerations: [{taint}], podLabels: {{tier: a}}, nodeSelector: {{pool: gpu}}}}}}\n"
    found = templates(more + HOSTILE)
    assert found["tf-serving"]["spec"]["tolerations"] == [taint]
    assert found["tf-serving"]["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64", "pool": "gpu"}
    assert found["tf-serving"]["metadata"]["labels"].items() >= {"tier": "a", "cost-centre": "vision"}.items()
    assert found["gateway"]["spec"]["nodeSelector"] == {"pool": "ml"}


def test_labels_of_the_user_do_not_change_what_selects(templates: Callable[[str], Templates]) -> None:
    plain, found = (
        templates(""),
        templates("pods: {labels: {app.kubernetes.io/name: mine, app.kubernetes.io/component: c}}\n"),
    )
    for name, pod in plain.items():
        for key in ("name", "component"):
            label = f"app.kubernetes.io/{key}"
            assert found[name]["metadata"]["labels"][label] == pod["metadata"]["labels"][label], name


def test_a_pvc_on_one_node_takes_its_pod_there(tmp_path: Path) -> None:
    pods = release_with(tmp_path, HOSTILE).pods
    found = cast(dict[str, Any], pod_manifest(STORE, image="i:1", pods=pods, token=TOKEN, node="n")["spec"])
    required = found["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required["nodeSelectorTerms"] == [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
    ]
    assert "nodeSelector" not in found
    assert found["tolerations"] == [{"key": "dedicated", "value": "ml", "effect": "NoSchedule"}]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{tolerations: [{keys: a}]}", "tolerations[0] has keys"),
        ("{tolerations: [{key: a, effect: Never}]}", "tolerations[0].effect Never is not"),
        ("{user: 0}", "user is 0"),
        ("{user: root}", "user"),
        ("{cpu_limit: much}", "much"),
        ("{node_selectors: {}}", "node_selector"),
    ],
)
def test_what_no_pod_can_have_is_refused(tmp_path: Path, section: str, words: str) -> None:
    with pytest.raises(SpecError) as refused:
        release_with(tmp_path, f"pods: {section}\n")
    assert words in str(refused.value)


def test_publish_and_models_read_the_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = PodOptions(image="i:1")
    assert options.access("pvc://ml/models").pods == Pods()
    document = {"release": "demo", "namespace": "ml", "store": "pvc://ml/models", "models": ["loan"]}
    Path("deployer.yaml").write_text(yaml.safe_dump({**document, "pods": {"priority_class": "ml"}}))
    assert options.access("pvc://ml/models").pods.priority_class == "ml"
    assert options.access("pvc://other/models").pods == Pods(), "of another namespace"
    assert PodOptions(image="i:1", file=Path("deployer.yaml")).access("pvc://other/models").pods.priority_class == "ml"
