"""Golden manifests: a change of what a chart renders is seen in review. Renew them with GOLDEN=write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

GOLDEN = Path(__file__).parent / "golden"
CHARTS = Path(__file__).resolve().parents[2] / "charts"
NAMES = [
    ("tf-serving", "default"),
    ("tf-serving", "maximal"),
    ("tf-serving", "gpu"),
    ("tf-serving", "canary"),
    ("gateway", "default"),
    ("gateway", "maximal"),
    ("gateway", "canary"),
]


@pytest.mark.parametrize(("chart", "name"), NAMES)
def test_manifest_is_as_reviewed(chart: str, name: str, render: Callable[..., list[dict[str, Any]]]) -> None:
    objects = render(chart, "-f", str(CHARTS / chart / "ci" / f"{name}-values.yaml"))
    objects.sort(key=lambda o: (o["kind"], o["metadata"]["name"]))
    path = GOLDEN / f"{chart}-{name}.yaml"
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump_all(objects, sort_keys=True, width=120))
    assert objects == list(yaml.safe_load_all(path.read_text()))
