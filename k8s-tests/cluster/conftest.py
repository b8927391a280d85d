"""The kind cluster of the tests: K8S_TESTS_CLUSTER names it, K8S_TESTS_TAG the tag of the project's images in it.

scripts/test-cluster makes one with the images of this checkout. Where one is named, what cannot run fails.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rolling import rolling_release  # noqa: F401

from deployer.demo.samples import SAMPLES
from deployer.errors import DeployerError
from deployer.release import kind_cluster
from deployer.targets.cluster.api import ApiServer, Place, connect, pod_path
from deployer.targets.cluster.objects import Event, Pod
from deployer.tools import docker, kind

ROOT = Path(__file__).resolve().parents[2]
NAME = os.environ.get("K8S_TESTS_CLUSTER", "")
TAG = os.environ.get("K8S_TESTS_TAG", "k8s-tests")
LONGEST = "test_rollout.py"
"""It takes as long as all modules beside it, so it begins first."""

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def _missing() -> str:
    """Why no cluster can be had; empty when one can."""
    for tool in ("kind", "helm"):
        if shutil.which(tool) is None:
            return f"{tool} is not on PATH; scripts/tools gets it"
    try:
        docker.require()
    except DeployerError as error:
        return f"{error.message}: {error.cause}"
    return "" if NAME else "K8S_TESTS_CLUSTER names no kind cluster; `make cluster-test` makes one"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if "k8s-tests/cluster" in str(item.path)]
    reason = _missing() if mine else ""
    if reason and NAME:
        raise pytest.UsageError(reason)
    items.sort(key=lambda item: item.path.name != LONGEST)
    for item in mine:
        item.add_marker(pytest.mark.cluster)
        item.add_marker(pytest.mark.timeout(600))
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command line of `deployer` came to; `result` is the document of -o json."""

    code: int
    document: dict[str, Any]
    stderr: str

    @property
    def result(self) -> Any:
        assert self.code == 0, f"exit code {self.code}\n{self.document}\n{self.stderr}"
        return self.document["result"]

    @property
    def error(self) -> dict[str, Any]:
        assert self.code != 0, self.document
        error: dict[str, Any] = self.document["error"]
        return error


Deployer = Callable[..., Ran]


@dataclass(kw_only=True)
class Cluster:
    """The cluster of this run. `namespaces` are those that tests made, for the dump after a failure."""

    name: str
    kubeconfig: str
    api: ApiServer
    namespaces: list[str] = field(default_factory=list)

    @property
    def context(self) -> str:
        return kind.context(self.name)

    def image(self, target: str) -> str:
        """The reference of one of the project's images in this cluster."""
        return kind_cluster.local_image(target, TAG)

    def place(self, namespace: str) -> Place:
        """A namespace of this cluster."""
        return Place(namespace=namespace, context=self.context, kubeconfig=self.kubeconfig)

    def facts(self, namespace: str) -> str:
        """Pods, warnings and the ends of logs, for a person who reads a failure."""
        pods = self.api.list(pod_path(namespace), Pod)
        events = self.api.list(f"/api/v1/namespaces/{namespace}/events", Event)
        lines = [f"== namespace {namespace}"]
        for pod in pods:
            lines.append(f"-- pod {pod.name} {pod.status.phase} ready={pod.ready} on {pod.spec.node_name}")
            for container in pod.spec.containers:
                query = {"container": container.name, "tailLines": "15"}
                try:
                    log = self.api.call("GET", f"{pod_path(namespace, pod.name)}/log", query=query)
                except DeployerError as error:
                    log = f"no log: {error.cause}".encode()
                lines += [f"   {line}" for line in log.decode(errors="replace").splitlines()]
        lines += [
            f"event {e.when} {e.involved_object.name} {e.reason}: {e.message}"
            for e in sorted(events, key=lambda e: e.when)
            if e.type == "Warning"
        ]
        return "\n".join(lines)


def run_deployer(*argv: object, env: dict[str, str] | None = None, timeout: float = 540) -> Ran:
    """`deployer ARGV -o json` as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "deployer.cli.__main__", *map(str, argv), "-o", "json"],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )
    return Ran(code=done.returncode, document=json.loads(done.stdout or "{}"), stderr=done.stderr)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A kind cluster with metrics-server and the images of this checkout."""
    kubeconfig = tmp_path_factory.mktemp("kube") / "config"
    argv = ["kind", "get", "kubeconfig", "--name", NAME]
    kubeconfig.write_text(subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout)
    place = Place(namespace="default", context=kind.context(NAME), kubeconfig=str(kubeconfig))
    return Cluster(name=NAME, kubeconfig=str(kubeconfig), api=connect(place))


@pytest.fixture(scope="session")
def deployer(cluster: Cluster) -> Deployer:
    """`deployer(*argv)` against the cluster of this run."""
    return lambda *argv, **more: run_deployer(*argv, env={"KUBECONFIG": cluster.kubeconfig}, **more)


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Two exported versions of the sample model, and records that it was not trained on."""

    store: Path
    records: Path


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    """The sample model `digits`, exported as versions 1 and 2."""
    directory = tmp_path_factory.mktemp("digits")
    sample = SAMPLES["digits"]
    features, store, records = directory / "features.yaml", directory / "store", directory / "records.jsonl"
    sample.write_features(features)
    sample.holdout().write(records)
    for version, source in sorted(sample.versions.items()):
        exported = run_deployer(
            *("export", source, "--store", store, "--model", "digits", "--version", version, "--features", features)
        )
        assert exported.code == 0, exported.stderr
    return Digits(store=store, records=records)


@pytest.fixture(scope="module")
def new_namespace(cluster: Cluster) -> Iterator[Callable[[str], str]]:
    """`new_namespace(purpose)` makes a namespace that admits only restricted pods; it is gone after its module.

    What the tests of one module leave running would take the node from those of the next.
    """
    made: list[str] = []

    def make(purpose: str) -> str:
        name = f"{purpose}-{os.getpid()}"
        content = {"metadata": {"name": name, "labels": RESTRICTED}}
        cluster.api.create("/api/v1/namespaces", content)
        made.append(name)
        cluster.namespaces.append(name)
        return name

    yield make
    for name in made:
        cluster.api.delete(f"/api/v1/namespaces/{name}")
        cluster.api.call("DELETE", pod_path(name), query={"gracePeriodSeconds": "0"})
        cluster.namespaces.remove(name)


@pytest.fixture(scope="session")
def claim_of(cluster: Cluster, digits: Digits, deployer: Deployer) -> Callable[..., str]:
    """`claim_of(namespace)` publishes both versions into a new claim; returns its store (pvc://…)."""

    def publish(namespace: str, pvc: str = "models") -> str:
        store = f"pvc://{namespace}/{pvc}"
        published = deployer(
            *("publish", "digits", "--store", digits.store, "--all", "--to", store, "--create", "1Gi"),
            *("--image", cluster.image("gateway")),
        )
        assert published.code == 0, published.stderr
        return store

    return publish


RELEASE = """
release: {release}
store: {store}
models: [digits]
serving:
  image: {{repository: tfserving-deployer/modelserver, tag: {tag}}}
  replicas: {replicas}
  resources: {{cpu: {cpu}, memory: {memory}}}
gateway:
  image: {{tag: {tag}}}
  replicas: {gateways}
  resources: {{cpu: 50m, memory: 256Mi}}
{more}
"""


@pytest.fixture(scope="session")
def describe(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`describe(store, **changes)` writes a deployer.yaml of a small release."""

    def write(store: str, **changes: object) -> Path:
        path = tmp_path_factory.mktemp("release") / "deployer.yaml"
        facts = {"release": "demo", "replicas": 1, "gateways": 1, "cpu": "50m", "memory": "640Mi", "more": ""}
        path.write_text(RELEASE.format(store=store, tag=TAG, **{**facts, **changes}))
        return path

    return write


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.skipped and NAME:
        report.outcome, report.longrepr = "failed", f"skipped, which proves nothing: {report.longrepr}"
    found = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and isinstance(found, Cluster):
        for namespace in found.namespaces:
            try:
                report.sections.append((f"cluster, namespace {namespace}", found.facts(namespace)))
            except DeployerError as error:
                report.sections.append((f"cluster, namespace {namespace}", error.message))
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Figures that tests recorded, and that no test judges."""
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    figures = [pair for report in reports if report.when == "call" for pair in report.user_properties]
    if figures:
        terminalreporter.section("figures")
    for name, value in figures:
        terminalreporter.write_line(f"{str(name).replace('_', ' ')}: {value}")
