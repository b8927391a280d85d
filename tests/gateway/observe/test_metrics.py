"""What the gateway counts, as the Prometheus project's own parser reads it and as its own client would have counted."""

from __future__ import annotations

import random

import prometheus_client
from prometheus_client.parser import text_string_to_metric_families

from gateway.observe.metrics import LATENCY_BOUNDS, Metrics

ODD = ("", "a", 'quote " backslash \\ end', "line\nfeed", "\\n", "ü€", "{}=,")
"""Label values; every one must come back as it was."""


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: str(float(value)) if name == "le" else value for name, value in sample.labels.items()}
            found[sample.name, frozenset(labels.items())] = sample.value
    return found


def test_the_text_says_what_prometheuss_own_client_would_say() -> None:
    metrics, registry, chance = Metrics(), prometheus_client.CollectorRegistry(), random.Random(1)
    who = ("model", "version", "label")
    requests = prometheus_client.Counter("gateway_requests_total", "-", (*who, "kind", "code"), registry=registry)
    seconds = prometheus_client.Histogram(
        "gateway_request_seconds", "-", who, buckets=LATENCY_BOUNDS, registry=registry
    )
    for _ in range(500):
        model, label, code = chance.choice(ODD), chance.choice(ODD), chance.choice(("200", "503"))
        taken = chance.choice((*LATENCY_BOUNDS, chance.expovariate(20), 1e-9, 100.0))
        metrics.requests.add(model, "1", label, "records", code, amount=2.5)
        requests.labels(model, "1", label, "records", code).inc(2.5)
        metrics.seconds.observe(taken, model, "1", label)
        seconds.labels(model, "1", label).observe(taken)
    ours = parsed(metrics.render().decode())
    theirs = parsed(prometheus_client.generate_latest(registry).decode())
    assert {key: value for key, value in theirs.items() if not key[0].endswith("_created")} == {
        key: value for key, value in ours.items() if key[0].startswith(("gateway_requests", "gateway_request_seconds"))
    }


def test_every_metric_has_its_help_and_its_type() -> None:
    metrics = Metrics()
    metrics.gauge("gateway_backend_up", "Whether a model server answers.", lambda: {("a:1",): 1.0}, "backend")
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    assert {family.type for family in families.values()} == {"counter", "gauge", "histogram"}
    assert all(family.documentation for family in families.values())
    assert [(s.labels, s.value) for s in families["gateway_backend_up"].samples] == [({"backend": "a:1"}, 1.0)]
