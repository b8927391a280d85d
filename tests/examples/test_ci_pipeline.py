"""examples/ci-pipeline as its README says: the pipeline's script fails the build for a bad version only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
import yaml
from example_folder import Example
from paths import ROOT

GUIDE = ROOT / "docs" / "guides" / "canary-in-ci.md"

QUICK = {
    "--soak 30s": "--soak 3s",
    "--load-rate 20": "--load-rate 60",
    "p99<1.5*stable": "p99<50*stable",  # a busy machine says nothing about the version
}


@pytest.mark.timeout(600)
def test_the_script_fails_the_build_for_a_bad_version_only(example: Callable[[str], Example]) -> None:
    flowers = example("ci-pipeline")
    flowers.replace("canary.sh", QUICK)
    start, good, bad = flowers.blocks
    flowers.run(start)

    assert stable_version(flowers.run(good)) == 2
    assert json.loads(flowers.read("rollout.json"))["result"]["outcome"] == "promoted"

    told = flowers.run(bad)
    assert "exit code 7" in told
    assert stable_version(told) == 2
    result = json.loads(flowers.read("rollout.json"))["result"]
    assert result["outcome"] == "aborted"
    verdicts = {one["gate"]: one["verdict"] for one in result["rollout"]["verdicts"]}
    assert verdicts["accuracy>=0.9"] == "fail"


def test_the_pipeline_calls_the_script_with_the_number_of_the_build(example: Callable[[str], Example]) -> None:
    (job,) = yaml.safe_load(example("ci-pipeline").read("pipeline.yml"))["jobs"].values()
    steps = [step["run"] for step in job["steps"] if "run" in step]
    assert steps[-3:] == ["python train.py", './canary.sh "$GITHUB_RUN_NUMBER"', "deployer rollout abort iris || true"]
    assert set(job["env"]) == {"DEPLOYER_TARGET", "PUBLISH_TO", "KUBECONFIG"}


def test_the_guide_shows_the_script(example: Callable[[str], Example]) -> None:
    script = example("ci-pipeline").read("canary.sh")
    shown = re.findall(r"```sh\n(.*?)```", GUIDE.read_text("utf-8"), re.S)[0]
    assert shown == script


def stable_version(status: str) -> int:
    """The version that carries the label stable on the one replica, as `deployer status` shows it."""
    (version,) = re.findall(r"^replica-0 +iris +(\d+) +AVAILABLE +stable ", status, re.M)
    return int(version)
