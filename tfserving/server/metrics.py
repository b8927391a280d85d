"""The metrics of a model server and their Prometheus text, under TensorFlow Serving's names.

Every registered metric prints its `# TYPE` line; a series appears with its first sample. Values, bucket bounds and the
order of labels are those of TensorFlow Serving, so dashboards and alerts written for it work unchanged.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from threading import Lock
from typing import ClassVar, TypeVar

_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n"}
_ESCAPED = re.compile(r'[\\"\n]')


def _exponential(first: float, growth: float, count: int) -> tuple[float, ...]:
    bounds = [first]
    while len(bounds) < count:
        bounds.append(bounds[-1] * growth)
    return tuple(bounds)


_LATENCY = _exponential(10, 1.8, 33)
"""Microseconds, 10 to 1.5e9."""
_LOAD_STAGE = _exponential(10, 1.8, 37)
_QUEUING = _exponential(100, 1.2, 52)
_BATCH_SIZES = _exponential(1, 2, 14)
_EXAMPLES = _exponential(1, 2, 15)


class Family(ABC):
    """One metric: all its series by their label values."""

    kind: ClassVar[str]
    """What the exposition calls it."""

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self.name = name
        self.labels = tuple(labels)
        self._lock = Lock()

    @property
    def exposed_name(self) -> str:
        """The name in the exposition: a colon for every character that Prometheus does not allow."""
        return re.sub(r"[^A-Za-z0-9_]", ":", self.name)

    @abstractmethod
    def lines(self) -> list[str]:
        """The `# TYPE` line and the samples."""

    def _pairs(self, values: Sequence[str]) -> str:
        return ",".join(
            f'{label}="{_ESCAPED.sub(lambda m: _ESCAPES[m[0]], value)}"'
            for label, value in zip(self.labels, values, strict=True)
        )


class Counter(Family):
    """A number that only grows."""

    kind = "counter"

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        super().__init__(name, labels)
        self._values: dict[tuple[str, ...], int] = {}

    def add(self, amount: int, *labels: str) -> None:
        """Add to the series of these label values, in the order the metric declares them."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + amount

    def first(self) -> int:
        """The value of the first series by its labels, 0 without any: what ReloadConfig's metric_names reports."""
        with self._lock:
            return self._values[min(self._values)] if self._values else 0

    def lines(self) -> list[str]:
        name = self.exposed_name
        with self._lock:
            values = list(self._values.items())
        return [f"# TYPE {name} {self.kind}", *(f"{name}{{{self._pairs(labels)}}} {value}" for labels, value in values)]


class Gauge(Counter):
    """A number that is set."""

    kind = "gauge"

    def set(self, value: int, *labels: str) -> None:
        """Replace the value of the series of these label values."""
        with self._lock:
            self._values[labels] = value


class Histogram(Family):
    """Samples counted in buckets; the last bucket has no bound."""

    kind = "histogram"

    def __init__(self, name: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__(name, labels)
        self._bounds = tuple(bounds)
        self._limits = (*(f"{bound:.6g}" for bound in bounds), "+Inf")
        self._series: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def observe(self, sample: float, *labels: str) -> None:
        """Count one sample in the series of these label values, in the order the metric declares them."""
        bucket = bisect_left(self._bounds, sample)
        with self._lock:
            series = self._series.get(labels)
            if series is None:
                series = self._series[labels] = ([0] * len(self._limits), [0.0])
            series[0][bucket] += 1
            series[1][0] += sample

    def lines(self) -> list[str]:
        name = self.exposed_name
        lines = [f"# TYPE {name} {self.kind}"]
        with self._lock:
            series = [(labels, list(buckets), total[0]) for labels, (buckets, total) in self._series.items()]
        for labels, buckets, total in series:
            pairs = self._pairs(labels)
            prefix = f"{name}_bucket{{{pairs}{',' if pairs else ''}le="
            count = 0
            for limit, samples in zip(self._limits, buckets, strict=True):
                count += samples
                lines.append(f'{prefix}"{limit}"}} {count}')
            lines.append(f"{name}_sum{{{pairs}}} {total:.6g}")
            lines.append(f"{name}_count{{{pairs}}} {count}")
        return lines


F = TypeVar("F", bound=Family)


class Metrics:
    """All metrics of one server, each in `families`. Latencies are in microseconds."""

    def __init__(self) -> None:
        serving, batching = "/tensorflow/serving/", "/tensorflow/serving/batching_session/"
        loading, reading = "/tensorflow/cc/saved_model/", "/tensorflow/core/saved_model/read/"
        self.families: list[Family] = []

        self.request_count = self._counter(f"{serving}request_count", "model_name", "status")
        self.request_latency = self._histogram(f"{serving}request_latency", _LATENCY, "model_name", "API", "entrypoint")
        self.runtime_latency = self._histogram(f"{serving}runtime_latency", _LATENCY, "model_name", "API", "runtime")
        self.request_example_counts = self._histogram(f"{serving}request_example_counts", _EXAMPLES, "model")
        self.request_example_count_total = self._counter(f"{serving}request_example_count_total", "model")
        self.model_warmup_latency = self._histogram(f"{serving}model_warmup_latency", _LATENCY, "model_path", "status")

        self.queuing_latency = self._histogram(f"{batching}queuing_latency", _QUEUING, "thread_pool_name")
        self.wrapped_run_count = self._counter(f"{batching}wrapped_run_count")
        self.input_batch_size = self._histogram(f"{batching}input_batch_size", _BATCH_SIZES)
        self.processed_batch_size = self._histogram(f"{batching}processed_batch_size", _BATCH_SIZES)
        self.padding_size = self._histogram(f"{batching}padding_size", _BATCH_SIZES, "execution_batch_size")

        self.load_attempt_count = self._counter(f"{loading}load_attempt_count", "model_path", "status")
        self.load_latency = self._counter(f"{loading}load_latency", "model_path")
        self.load_latency_by_stage = self._histogram(
            f"{loading}load_latency_by_stage", _LOAD_STAGE, "model_path", "stage"
        )
        self.read_api = self._counter(f"{reading}api", "api_label")
        self.read_count = self._counter(f"{reading}count", "write_version")
        self.read_path = self._gauge(f"{reading}path")

    def text(self) -> str:
        """The Prometheus exposition, metrics in the order of their names."""
        return "".join(f"{line}\n" for family in sorted(self.families, key=lambda f: f.name) for line in family.lines())

    def counter_value(self, name: str) -> int:
        """The first series of the counter that TensorFlow calls `name` ("/tensorflow/serving/…"); 0 if unknown."""
        return next((f.first() for f in self.families if isinstance(f, Counter) and f.name == name), 0)

    def _counter(self, name: str, *labels: str) -> Counter:
        return self._register(Counter(name, labels))

    def _gauge(self, name: str, *labels: str) -> Gauge:
        return self._register(Gauge(name, labels))

    def _histogram(self, name: str, bounds: Sequence[float], *labels: str) -> Histogram:
        return self._register(Histogram(name, labels, bounds))

    def _register(self, family: F) -> F:
        self.families.append(family)
        return family
