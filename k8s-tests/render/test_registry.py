"""A chart goes into an OCI registry and comes out again as it is here, by version and by digest."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from loopback_registry import registry

CHARTS = Path(__file__).resolve().parents[2] / "charts"


@pytest.mark.parametrize("chart", ["tf-serving", "gateway"])
def test_a_chart_that_was_pushed_renders_as_the_one_here(
    chart: str, tmp_path: Path, helm_program: str, render: Callable[..., list[dict[str, Any]]]
) -> None:
    version = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())["version"]
    values = ("-f", str(CHARTS / chart / "ci" / "default-values.yaml"))
    homes = {name: str(tmp_path / name) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [helm_program, *arguments]
        done = subprocess.run(argv, env=os.environ | homes, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done

    run("package", str(CHARTS / chart), "--destination", str(tmp_path))
    with registry() as there:
        pushed = run("push", str(tmp_path / f"{chart}-{version}.tgz"), f"oci://{there.address}/charts", "--plain-http")
        digest = re.search(r"sha256:[0-9a-f]{64}", pushed.stdout + pushed.stderr)
        assert digest is not None
        reference = f"oci://{there.address}/charts/{chart}"
        for named in ((reference, "--version", version), (f"{reference}@{digest[0]}",)):
            flags = ("--namespace", "spaces", "--kube-version", "1.30.0", "--plain-http")
            text = run("template", "r", *named, *flags, *values).stdout
            assert [o for o in yaml.safe_load_all(text) if o] == render(chart, *values)
