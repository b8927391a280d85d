"""What the deployer writes as values, the charts accept: the two contracts cannot drift."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deployer.domain.serving import ModelState, ServingConfig
from deployer.release import spec
from deployer.release.render import render_release
from deployer.targets.cluster.live_config import as_helm_writes

CHARTS = Path(__file__).resolve().parents[2] / "charts"
STATE = ServingConfig(
    models={
        "loan": ModelState(versions=(1, 2), labels={"stable": 1, "canary": 2}, weights={"stable": 95, "canary": 5}),
    }
)
FEATURES = """
features: [{name: income, type: float}]
input: {name: x, dtype: float32, shape: [-1, 1]}
output: {name: y, kind: regression}
"""
RELEASES = {
    "minimal": "store: models\n",
    "claim": "namespace: spaces\nstore: pvc://spaces/models/vision\n",
    "waiting": """
store: models
autoscaling: {min_replicas: 2, max_replicas: 10}
serving:
  values:
    autoscaling:
      keda: {enabled: true, triggers: [{type: prometheus, metadata: {query: sum(gateway_in_flight), threshold: "8"}}]}
""",
    "splitting": """
store: models
batching:
  {max_batch_size: 64, allowed_batch_sizes: [8, 64], enable_large_batch_splitting: true, max_execution_batch_size: 16}
""",
    "everything": """
store: models
serving:
  image: {registry: registry.example.com, repository: serving, tag: "2.19"}
  pool: gpu
  gpus: 2
  resources: {cpu: "4", memory: 8Gi, cpu_limit: true}
  flags: {num_request_iterations_for_warmup: 2}
  rest_timeout_seconds: 90
  values: {networkPolicy: {enabled: true}, gpu: {runtimeClassName: nvidia}, prometheusRule: {enabled: true}}
storage: {size: 20Gi, storage_class: fast, access_modes: [ReadWriteMany]}
autoscaling: {min_replicas: 2, max_replicas: 6, cpu_percent: 50}
gateway:
  autoscaling: {min_replicas: 2, max_replicas: 4}
  limits: {max_records: 7, timeout_ms: 60000}
  values: {httpRoutes: {public: {parentRefs: [{name: edge}]}}, podMonitor: {enabled: true}}
  rates: {base: EUR, table: {USD: 1.1}}
  grpc_port: 8600
""",
}


@pytest.mark.parametrize("name", RELEASES)
@pytest.mark.parametrize("chart", ["tf-serving", "gateway"])
def test_rendered_values_fit_the_chart(
    chart: str, name: str, tmp_path: Path, render: Callable[..., list[dict[str, Any]]]
) -> None:
    release = spec.parse("release: demo\nmodels: [loan]\n" + RELEASES[name], tmp_path)
    text = render_release(release, STATE, {"loan": {1: FEATURES, 2: FEATURES}}).files[f"{chart}-values.yaml"]

    jsonschema.Draft7Validator(yaml.safe_load((CHARTS / chart / "values.schema.json").read_text())).validate(
        yaml.safe_load(text)
    )
    values = tmp_path / "values.yaml"
    values.write_text(text)
    assert render(chart, "-f", str(values), release=f"demo-{chart}")


TRICKY = """
features:
  - name: word
    type: category
    vocabulary:
      ["0", "1.5", "yes", "on", "null", "~", "", a b, "x: y", "- z", "#c", "é", "1e3", "0x1f", "2026-01-01", "*a"]
    encoding: one_hot
  - {name: income, type: float, normalize: {mean: 52000.5, std: 21000}, min: 0, max: 123456}
input: {name: x, dtype: float32, shape: [-1, 17]}
output: {name: y, kind: regression}
"""


def test_a_rollout_writes_the_gateways_settings_as_the_chart_does(
    tmp_path: Path, render: Callable[..., list[dict[str, Any]]]
) -> None:
    """To the byte, so that gateways have nothing to read anew when Helm follows."""
    release = spec.parse("release: demo\nmodels: [loan]\n" + RELEASES["everything"], tmp_path)
    values = tmp_path / "values.yaml"
    values.write_text(render_release(release, STATE, {"loan": {1: FEATURES, 2: TRICKY}}).files["gateway-values.yaml"])
    objects = render("gateway", "-f", str(values), release="demo-gateway")
    (text,) = (o["data"]["gateway.yaml"] for o in objects if o["kind"] == "ConfigMap" and "gateway.yaml" in o["data"])
    assert as_helm_writes(text) == text
