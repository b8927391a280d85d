"""The Prometheus exposition."""

from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families

from tfserving.server.metrics import Metrics


def samples(metrics: Metrics) -> dict[str, str]:
    lines = metrics.text().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_nothing_recorded_yet_shows_types_only() -> None:
    lines = Metrics().text().splitlines()
    assert all(line.startswith("# TYPE :tensorflow:") for line in lines)
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    assert "# TYPE :tensorflow:serving:request_latency histogram" in lines
    assert lines == sorted(lines)


def test_counters() -> None:
    metrics = Metrics()
    metrics.request_count.add(1, "H", "OK")
    metrics.request_count.add(2, "H", "OK")
    metrics.wrapped_run_count.add(1)
    found = samples(metrics)
    assert found[':tensorflow:serving:request_count{model_name="H",status="OK"}'] == "3"
    assert found[":tensorflow:serving:batching_session:wrapped_run_count{}"] == "1"
    assert metrics.counter_value("/tensorflow/serving/request_count") == 3
    metrics.request_count.add(7, "A", "OK")
    assert metrics.counter_value("/tensorflow/serving/request_count") == 7, "the first by its labels"
    assert metrics.counter_value("/no/such") == 0


def test_histograms_have_the_bounds_of_tensorflow_serving() -> None:
    metrics = Metrics()
    for sample in (5, 10, 11, 1e12):
        metrics.request_latency.observe(sample, "H", "predict", "REST")
    found = samples(metrics)
    labels = 'model_name="H",API="predict",entrypoint="REST"'
    name = ":tensorflow:serving:request_latency"
    limits = [key.split('le="')[1][:-2] for key in found if key.startswith(f"{name}_bucket")]
    assert limits[:6] == ["10", "18", "32.4", "58.32", "104.976", "188.957"]
    assert limits[-2:] == ["1.47476e+09", "+Inf"]
    assert len(limits) == 34
    assert found[f'{name}_bucket{{{labels},le="10"}}'] == "2"
    assert found[f'{name}_bucket{{{labels},le="18"}}'] == "3"
    assert found[f'{name}_bucket{{{labels},le="+Inf"}}'] == "4"
    assert found[f"{name}_count{{{labels}}}"] == "4"
    assert found[f"{name}_sum{{{labels}}}"] == "1e+12"


def test_prometheus_reads_every_series_as_it_was_counted() -> None:
    metrics, names = Metrics(), ("H", 'a"b\\c\nd', "ü€", "{}=,")
    for number, name in enumerate(names, 1):
        metrics.request_count.add(number, name, "OK")
        metrics.request_latency.observe(100 * number, name, "predict", "GRPC")
    families = {family.name: family for family in text_string_to_metric_families(metrics.text())}
    counted = {s.labels["model_name"]: s.value for s in families[":tensorflow:serving:request_count"].samples}
    assert counted == dict(zip(names, (1, 2, 3, 4), strict=True))
    latency = families[":tensorflow:serving:request_latency"]
    assert latency.type == "histogram"
    sums = {s.labels["model_name"]: s.value for s in latency.samples if s.name.endswith("_sum")}
    assert sums == dict(zip(names, (100, 200, 300, 400), strict=True))
    whole = [s.value for s in latency.samples if s.name.endswith("_bucket") and float(s.labels["le"]) == math.inf]
    assert whole == [1, 1, 1, 1]


def test_label_values_cannot_break_the_page() -> None:
    metrics = Metrics()
    metrics.request_count.add(1, 'a"b\\c\nd', "NOT_FOUND")
    assert (
        r':tensorflow:serving:request_count{model_name="a\"b\\c\nd",status="NOT_FOUND"} 1'
        in metrics.text().splitlines()
    )
