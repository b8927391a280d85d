"""A release of `digits` on three pods, with good and bad versions in its claim, for the tests of rollouts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from eventually import eventually
from meanwhile import again_and_again
from under_load import Release, Steady
from variants import CORRUPT, ERRS, altered, cut, unreadable

from deployer.demo.samples import SAMPLES
from deployer.domain.serving import ModelState
from deployer.errors import DeployerError
from deployer.release import gateway_metrics
from deployer.release.render.text import to_yaml
from deployer.release.where import Kind, Where
from deployer.rollout import files
from deployer.rollout.facts import VersionFacts
from deployer.rollout.rollouts import Rollouts, rollouts_of
from deployer.targets import proof
from deployer.targets.cluster.names import MODEL_SERVER
from deployer.targets.cluster.target import ClusterTarget
from gateway.settings import parse_settings
from gateway.spec import dump_spec
from tfserving.config import ModelConfig, ModelServerConfig

SUPPORT = Path(__file__).parent
GATES = ("--gate", "error_rate<5%", "--gate", "p99<5s", "--min-samples", "20", "--timeout", "60s")


@dataclass(frozen=True, kw_only=True)
class Rolling:
    """A release with version 1 of `digits` stable on three pods at first, and every other version in its claim."""

    release: Release
    load: Steady
    deployer: Callable[..., Any]
    file: Path
    kubeconfig: str

    @property
    def where(self) -> tuple[str, ...]:
        """The options that name the release."""
        return ("-f", str(self.file), "--target", "cluster")

    @property
    def target(self) -> ClusterTarget:
        return self.release.target

    @property
    def state(self) -> ModelState:
        """Versions, labels and weights in force."""
        return files.state(files.current_config(self.target), "digits")

    @property
    def features(self) -> str:
        """The feature spec of every version."""
        spec = parse_settings(self.target.gateway_config()).models["digits"].specs["1"]
        return to_yaml(dump_spec(spec))

    @property
    def other(self) -> int:
        """Which of the two good versions is not stable."""
        return 1 if self.state.labels["stable"] == 2 else 2

    def set(self, key: str, value: str) -> None:
        """Change a key ("serving.rollout_policy") of deployer.yaml."""
        document = yaml.safe_load(self.file.read_text())
        section, name = key.split(".")
        document[section][name] = value
        self.file.write_text(yaml.safe_dump(document))

    def rollout(self, verb: str, *options: object) -> Any:
        """`deployer rollout VERB digits …` to its end."""
        return self.deployer("rollout", verb, "digits", *self.where, *options)

    def verbs(self, at_point: Callable[[str], None], facts: VersionFacts | None = None) -> Rollouts:
        """The same verbs in this process, with a look at each point of the journal. `facts` need not be read then."""
        where = Where(file=self.file, kind=Kind.CLUSTER, kubeconfig=self.kubeconfig)
        verbs = replace(rollouts_of(where, "digits", lambda _: None), at_point=at_point)
        return replace(verbs, facts=lambda _: facts) if facts is not None else verbs

    @contextmanager
    def started(self, to: int, *options: object) -> Iterator[subprocess.Popen[bytes]]:
        """A rollout that is under way, with canary at half of the traffic for a minute."""
        steps = ("--steps", "50", "--soak", "60s", *GATES)
        argv = ("rollout", "start", "digits", "--to", to, *steps, *self.where, "-q", *options)
        process = subprocess.Popen(
            [sys.executable, "-m", "deployer.cli.__main__", *map(str, argv)],
            env={**os.environ, "KUBECONFIG": self.kubeconfig},
            stdout=subprocess.DEVNULL,
        )
        try:
            eventually(
                lambda: self.state.weights.get("canary") == 50 or process.poll(), "traffic for canary", seconds=90
            )
            assert process.poll() is None, "the rollout has ended already"
            yield process
        finally:
            process.kill()
            process.wait()

    def journal(self, since: float | None = None) -> str:
        """What the latest rollout recorded after a moment (Unix time; None: its start), with the seconds passed."""
        entries = self.rollout("history").result["entries"]
        began = entries[0]["at"] if since is None else since
        said = (f"{one['step']} {one['event']} {one['at'] - began:.1f}" for one in entries if one["at"] >= began)
        return ", ".join(said)

    def proven(self) -> None:
        """Fails unless every pod and gateway is as configured, and Helm's values say what is in force."""
        status = self.deployer("status", *self.where).result
        assert status["healthy"], status["missing"]
        target = self.target
        kept: list[Mapping[str, Any]] = []
        for found in (target.helm.tf_serving(), target.helm.gateway()):
            assert found is not None
            kept.append(found.values)
        assert kept[0]["models"][0]["versions"] == list(self.state.versions)
        assert kept[0]["models"][0]["labels"] == dict(self.state.labels)
        routing = kept[1]["config"]["models"]["digits"]["routing"]
        assert routing["weights"] == dict(self.state.weights)


@contextmanager
def last_answers(target: ClusterTarget) -> Iterator[dict[str | int, float]]:
    """When each label ("canary") and each version (2) was last seen to have answered, by the gateways' own counters."""
    seen: dict[str | int, float] = {}
    counts = dict(_answers(target))

    def look() -> None:
        now = _answers(target)
        seen.update({who: time.monotonic() for who in now if now[who] > counts.get(who, 0)})
        counts.update(now)

    with again_and_again(look):
        yield seen


@contextmanager
def held_at_once(target: ClusterTarget) -> Iterator[set[frozenset[int]]]:
    """The sets of versions that a pod was seen to have in memory, or on the way in or out, at the same time."""
    seen: set[frozenset[int]] = set()
    digits = ModelServerConfig(models=(ModelConfig(name="digits", base_path="/"),))

    def look() -> None:
        for pod in target.pods(MODEL_SERVER):
            try:
                (served,) = proof.served(target, pod.name, digits)
            except DeployerError:  # it starts, or ends
                continue
            seen.add(frozenset(version for version, state in served.versions.items() if state != "END"))

    with again_and_again(look):
        yield seen


def _answers(target: ClusterTarget) -> dict[str | int, float]:
    found: dict[str | int, float] = defaultdict(float)
    for series in gateway_metrics.read(target, "digits").gateways.values():
        for (name, pairs), value in series.items():
            if name == "gateway_requests_total":
                facts = dict(pairs)
                found[facts["label"]] += value
                found[int(facts["version"] or 0)] += value
    return found


@pytest.fixture(scope="module", name="rolling")
def rolling_release(
    cluster: Any,
    deployer: Any,
    digits: Any,
    new_namespace: Any,
    claim_of: Callable[..., str],
    describe: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rolling]:
    """The release, under load; tests leave either good version stable, and no rollout open."""
    namespace, store = new_namespace("rollout"), tmp_path_factory.mktemp("bad")
    for version, change in ((ERRS, unreadable), (CORRUPT, cut)):
        altered(digits.store, store, version, change)
    features = store / "features.yaml"
    SAMPLES["digits"].write_features(features)
    exported = subprocess.run(
        [sys.executable, str(SUPPORT / "bad_models.py"), str(store), str(features)],
        env={**os.environ, "PYTHONPATH": str(SUPPORT.parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert exported.returncode == 0, exported.stderr
    pvc = claim_of(namespace)
    published = deployer(
        "publish", "digits", "--store", store, "--all", "--to", pvc, "--image", cluster.image("gateway")
    )
    assert published.code == 0, published.stderr
    file = describe(pvc, replicas=3, gateways=2, cpu="50m")
    file.write_text(file.read_text().replace("replicas: 3\n", "replicas: 3\n  max_load_retries: 0\n"))
    done = deployer("deploy", "-f", file, "--version", "digits=1")
    assert done.code == 0, done.stderr
    target = ClusterTarget.open("demo", cluster.place(namespace))
    release = Release(target=target, image=cluster.image("deployer"), records=digits.records)
    with release.steady() as load:
        yield Rolling(release=release, load=load, deployer=deployer, file=file, kubeconfig=cluster.kubeconfig)
