"""Stages of a request during a trial, from the metrics of gateways and replicas: times of stages, rows per batch."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from deployer.errors import DeployerError
from deployer.experiment.results import Stages
from deployer.release import gateway_metrics
from deployer.targets.base import Target

METRICS_PATH = "/monitoring/prometheus/metrics"
"""The default metrics path of a model server; with another path its batches are unknown."""

STAGE_METRIC = "gateway_stage_seconds"
BATCH_ROWS_METRIC = "gateway_batch_rows"
_BATCHES = re.compile(r"^:tensorflow:serving:batching_session:processed_batch_size_(sum|count)(?:\{\})? (\S+)$", re.M)


@dataclass(frozen=True, kw_only=True)
class StageReading:
    """Metrics at one point in time; `gateways` is None if none responded, `batches` by replica."""

    gateways: gateway_metrics.Reading | None = None
    batches: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def read_stages(target: Target, model: str) -> StageReading:
    """Query every gateway and replica once. Missing responses are ignored: a trial does not fail because of them."""
    try:
        gateways = gateway_metrics.read(target, model)
    except DeployerError:
        gateways = None
    batches = {}
    for replica in target.replicas():
        try:
            reply = target.get(replica.name, METRICS_PATH, timeout=gateway_metrics.GET_TIMEOUT)
        except DeployerError:
            continue
        if found := {part: float(value) for part, value in _BATCHES.findall(reply.body.decode(errors="replace"))}:
            batches[replica.name] = found
    return StageReading(gateways=gateways, batches=batches)


def between(before: StageReading, after: StageReading) -> Stages:
    """Means over the time between two readings; values without counts are left out."""
    sums: dict[tuple[str, str], float] = defaultdict(float)
    if before.gateways is not None and after.gateways is not None:
        for (name, labels), value in gateway_metrics.growth(before.gateways, after.gateways).items():
            series, _, part = name.rpartition("_")
            if series in (STAGE_METRIC, BATCH_ROWS_METRIC) and part in ("sum", "count"):
                sums[dict(labels).get("stage", "") if series == STAGE_METRIC else BATCH_ROWS_METRIC, part] += value
    for replica, counted in after.batches.items():
        for part, value in counted.items():
            sums[METRICS_PATH, part] += value - before.batches.get(replica, {}).get(part, 0.0)
    means = {key: sums[key, "sum"] / count for (key, part), count in sums.items() if part == "count" and count > 0}
    return Stages(
        stages_ms={
            stage: 1e3 * mean for stage, mean in means.items() if stage not in (BATCH_ROWS_METRIC, METRICS_PATH)
        },
        rows_per_call=means.get(BATCH_ROWS_METRIC),
        rows_per_batch=means.get(METRICS_PATH),
    )
