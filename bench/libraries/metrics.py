"""prometheus_client in place of `gateway.observe.metrics` and `tfserving.server.metrics`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import prometheus_client

import gateway.observe.metrics as gateway_metrics
from bench.libraries import compare, processes, variants
from gateway.observe.trace import Trace

STAGES = ("read", "admission", "decode", "preprocess", "backend", "interpret", "encode")
MODELS = 10


def main() -> None:
    """Print what counting one request costs, what reading costs, and what a whole request costs either way."""
    own = _filled()
    with variants.GATEWAY_COUNTS:
        library = _filled()
    compare(
        "Counting one request in the gateway",
        {"own": lambda: _count(own), "prometheus_client": lambda: _count(library)},
        2000,
    )
    compare(
        f"Text of the gateway's metrics with {MODELS} models",
        {"own": own.render, "prometheus_client": lambda: prometheus_client.generate_latest(variants.REGISTRY)},
        50,
    )
    with tempfile.TemporaryDirectory() as folder:
        processes.gateways(Path(folder), "gateway-metrics")
        processes.model_servers(Path(folder), "server-metrics")


def _filled() -> gateway_metrics.Metrics:
    metrics = gateway_metrics.Metrics()
    for model in range(MODELS):
        _count(metrics, f"model-{model}")
    return metrics


def _count(metrics: gateway_metrics.Metrics, model: str = "model-1") -> None:
    trace = Trace()
    trace.model, trace.version, trace.label, trace.kind, trace.records = model, "1", "stable", "records", 1
    trace.stages = [(stage, 0.0007) for stage in STAGES]
    trace.finish(metrics, 200, "")
