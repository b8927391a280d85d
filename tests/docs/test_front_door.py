"""The files that a newcomer opens first name only what is there: make targets, paths, one number, the licence."""

from __future__ import annotations

import hashlib
import re
import tomllib
from typing import Any

import pytest
import yaml
from named_paths import absent_paths
from paths import ROOT

PAGES = ("README.md", "CONTRIBUTING.md", "RELEASE.md", "SECURITY.md", "docs/architecture.md", "examples/README.md")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""sha256 of the text that the Apache Software Foundation publishes."""


def test_the_licence_is_the_one_that_the_package_names() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def test_package_charts_and_images_carry_one_number() -> None:
    tf_serving, gateway = (
        yaml.safe_load((ROOT / "charts" / chart / "Chart.yaml").read_text("utf-8"))
        for chart in ("tf-serving", "gateway")
    )
    assert {tf_serving["version"], gateway["version"], gateway["appVersion"]} == {PROJECT["version"]}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) <= TARGETS
    assert absent_paths(text) == []


def test_ci_of_a_hosted_repository_only_calls_make() -> None:
    jobs: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert runs == [f"make {name}" for name in jobs]
    assert {"lint", "test", "conformance", "cluster-test"} <= set(jobs) <= TARGETS


def test_hooks_before_a_commit_are_local_and_lint() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    assert "make lint" in {hook["entry"] for hook in repository["hooks"]}
