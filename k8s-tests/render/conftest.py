"""Rendering of the charts with whatever helm is there; without one these tests are skipped with a sentence."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_program import helm_program as _helm

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "charts"
CASES = [(f.parent.parent.name, f.name.removesuffix("-values.yaml")) for f in sorted(CHARTS.glob("*/ci/*-values.yaml"))]

OLDEST = ("--kube-version", "1.30.0")
"""The oldest Kubernetes that the charts are for. A helm built from its Go module would take a far older one."""

Objects = list[dict[str, Any]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if _helm() is None:
        skip = pytest.mark.skip(reason="helm is not on PATH; scripts/tools gets it")
        for item in items:
            if "k8s-tests/render" in str(item.path):
                item.add_marker(skip)


@cache
def render_text(chart: str, *args: str, release: str = "r") -> str:
    """What `helm template` prints for one chart. Errors: CalledProcessError with helm's words in `stderr`."""
    argv = [str(_helm()), "template", release, str(CHARTS / chart), "--namespace", "spaces", *OLDEST, *args]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


def _objects(chart: str, *args: str, release: str = "r") -> Objects:
    return [o for o in yaml.safe_load_all(render_text(chart, *args, release=release)) if o]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Every chart with every one of its ci values files."""
    chart, name = request.param
    return chart, name


@pytest.fixture
def objects(case: tuple[str, str]) -> Objects:
    """The objects of one case."""
    chart, name = case
    return _objects(chart, "-f", str(CHARTS / chart / "ci" / f"{name}-values.yaml"))


@pytest.fixture
def render() -> Callable[..., Objects]:
    """`render(chart, *helm_args, release="r")` -> objects."""
    return _objects


@pytest.fixture
def helm_program() -> str:
    """The helm to call."""
    return str(_helm())


@pytest.fixture
def refused() -> Callable[..., str]:
    """`refused(chart, *helm_args)` -> the words with which helm refuses."""

    def run(chart: str, *args: str) -> str:
        with pytest.raises(subprocess.CalledProcessError) as failure:
            render_text(chart, *args)
        return str(failure.value.stderr)

    return run


@pytest.fixture
def render_anew() -> Callable[..., str]:
    """`render_anew(chart, *args)` is the text that helm prints now, whatever it printed before."""
    return render_text.__wrapped__
