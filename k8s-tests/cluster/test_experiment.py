"""Experiments in a cluster: more replicas carry more through the gateways, one channel does not; all is put back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eventually import eventually

from deployer.demo.samples import DIGITS
from deployer.demo.samples.sample import Holdout
from deployer.targets.cluster.agent_job import job_path
from deployer.targets.cluster.target import ClusterTarget

pytestmark = pytest.mark.alone

BOUNDS = (1, 2)
MORE = """\
autoscaling: {min_replicas: 1, max_replicas: 2, cpu_percent: 1000}
"""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A release whose replicas saturate long before the node does, with an autoscaler that would interfere."""

    target: ClusterTarget
    command: tuple[str, ...]

    def bounds(self) -> tuple[int, int]:
        """What the autoscaler may do."""
        found = self.target.scaling.autoscaler()
        assert found is not None
        return found.spec.min_replicas, found.spec.max_replicas

    def put_back(self) -> None:
        """Fails unless nothing of an experiment is left."""
        assert self.target.api.list(job_path(self.target.place), object) == ()
        assert self.bounds() == BOUNDS
        assert not self.target.scaling.paused()
        assert self.target.scaling.deployment().spec.replicas == 1


def write_inputs(holdout: Holdout, path: Path) -> None:
    """Write one `{"inputs": …, "expected": …}` a line: the same rows as a model server takes them."""
    with path.open("w", encoding="utf-8") as file:
        for row, expected in enumerate(holdout.expected):
            inputs = {name: array[row].tolist() for name, array in holdout.inputs.items()}
            file.write(json.dumps({"inputs": inputs, "expected": expected}) + "\n")


@pytest.fixture(scope="module")
def loaded(
    cluster: Any, deployer: Any, new_namespace: Any, describe: Callable[..., Path], tmp_path_factory: Any
) -> Loaded:
    """The convolutional digits on one replica of 150m CPU."""
    namespace, directory = new_namespace("experiment"), tmp_path_factory.mktemp("conv")
    features, records, inputs = directory / "features.yaml", directory / "r.jsonl", directory / "i.jsonl"
    DIGITS.write_features(features)
    DIGITS.holdout().write(records)
    write_inputs(DIGITS.holdout(), inputs)
    model = ("digits", "--store", directory / "store")
    exported = deployer(
        *("export", "deployer.demo.samples:digits_conv", *model[1:], "--model", "digits", "--features", features)
    )
    assert exported.code == 0, exported.stderr
    store = f"pvc://{namespace}/models"
    published = deployer("publish", *model, "--to", store, "--create", "1Gi", "--image", cluster.image("gateway"))
    assert published.code == 0, published.stderr
    file = describe(store, replicas=1, cpu="150m", more=MORE)
    file.write_text(file.read_text().replace("memory: 640Mi", "memory: 640Mi, cpu_limit: true"))
    done = deployer("deploy", "-f", file, "--storage-image", cluster.image("gateway"))
    assert done.code == 0, done.stderr
    command = ("experiment", "run", "digits", "-f", file, "--target", "cluster", "--records", records)
    more = ("--direct-records", inputs, "--load-image", cluster.image("deployer"), "--batch", "4", "--max-lag", "1s")
    return Loaded(
        target=ClusterTarget.open("demo", cluster.place(namespace)), command=tuple(map(str, (*command, *more)))
    )


def test_ceilings_through_gateways_and_through_one_channel_are_recorded(
    loaded: Loaded, deployer: Any, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    found = deployer(
        *(*loaded.command, "--out", tmp_path / "out", "--replicas", "1,2,4", "--p99", "5s"),
        *("--fractions", "0.7", "--refine", "0", "--seconds", "5"),
    ).result

    gateways = {c["replicas"]: c["ceiling"] for c in found["capacities"]}
    channel = {c["replicas"]: c["ceiling"] for c in found["direct"]["capacities"]}
    record_property("1 to 2 replicas through the gateways", f"{gateways[2] / gateways[1]:.2f}")
    record_property("1 to 4 replicas through the gateways", f"{gateways[4] / gateways[1]:.2f}")
    record_property("1 to 4 replicas through one channel", f"{channel[4] / channel[1]:.2f}")
    assert gateways.keys() == channel.keys() == {1, 2, 4}
    assert min(*gateways.values(), *channel.values()) > 0
    trials = [*found["trials"], *found["direct"]["trials"]]
    assert not any("wrong answer" in trial["errors"] for trial in trials)
    assert all(trial["machine_busy"] is not None for trial in trials)
    assert found["accuracy"] > 0.9
    assert "one gRPC channel" in (tmp_path / "out" / "report.html").read_text()
    loaded.put_back()


def test_ctrl_c_puts_everything_back(loaded: Loaded, cluster: Any, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "deployer.cli.__main__", *map(str, loaded.command), "--out", str(tmp_path / "out")]
    run = subprocess.Popen(
        [*argv, "--replicas", "2"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "KUBECONFIG": cluster.kubeconfig},
    )
    assert run.stderr is not None
    said = []
    for line in run.stderr:
        said.append(line)
        if "clients" in line:  # the first trial has ended, the second runs
            break
    assert loaded.bounds() == (2, 2), "".join(said)
    run.send_signal(signal.SIGINT)
    rest = run.stderr.read()
    run.stderr.close()

    assert run.wait(120) == 130, rest
    assert json.loads((tmp_path / "out" / "experiment.json").read_text())["experiment"]["interrupted"]
    jobs = job_path(loaded.target.place)
    eventually(lambda: not loaded.target.api.list(jobs, object), "the Job is gone")
    loaded.put_back()
