"""Counters, gauges and histograms with labels, in the Prometheus text format.

Single-threaded like the event loop that uses it. Every metric is described in docs/reference/gateway.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final

LATENCY_BOUNDS: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds in seconds; dense where latency objectives are set."""
STAGE_BOUNDS: Final = (0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
ROWS_BOUNDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

Labels = tuple[str, ...]


class Counter:
    """A number that only grows, one per combination of labels."""

    kind = "counter"

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.name, self.text, self.labels = name, text, labels
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, amount: float = 1) -> None:
        """Count one, or `amount`."""
        self._values[labels] = self._values.get(labels, 0.0) + amount

    def value(self, *labels: str) -> float:
        """The count so far."""
        return self._values.get(labels, 0.0)

    def lines(self) -> Iterator[str]:
        for labels, value in self._values.items():
            yield f"{self.name}{_braces(self.labels, labels)} {value:.17g}"


class Gauge:
    """A number that is asked for when the metrics are read."""

    kind = "gauge"

    def __init__(self, name: str, text: str, read: Callable[[], dict[Labels, float]], *labels: str) -> None:
        self.name, self.text, self.labels = name, text, labels
        self._read = read

    def lines(self) -> Iterator[str]:
        for labels, value in self._read().items():
            yield f"{self.name}{_braces(self.labels, labels)} {value:.17g}"


class ReadCounter(Gauge):
    """A number that only grows, and is asked for when the metrics are read."""

    kind = "counter"


class Histogram:
    """Observations counted by upper bound, one series per combination of labels."""

    kind = "histogram"

    def __init__(self, name: str, text: str, bounds: tuple[float, ...], *labels: str) -> None:
        self.name, self.text, self.labels, self.bounds = name, text, labels, bounds
        self._series: dict[Labels, list[float]] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Count one observation."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = [0.0] * (len(self.bounds) + 2)
        series[bisect_left(self.bounds, value)] += 1
        series[-1] += value

    def lines(self) -> Iterator[str]:
        names = (*self.labels, "le")
        for labels, series in self._series.items():
            total = 0.0
            for bound, count in zip((*self.bounds, None), series, strict=False):
                total += count
                upper = "+Inf" if bound is None else f"{bound:g}"
                yield f"{self.name}_bucket{_braces(names, (*labels, upper))} {total:.17g}"
            yield f"{self.name}_sum{_braces(self.labels, labels)} {series[-1]:.17g}"
            yield f"{self.name}_count{_braces(self.labels, labels)} {total:.17g}"


class Metrics:
    """What the gateway counts. `model`, `version` and `label` come from the config and from the model server, never
    from a client alone, so the number of series is bounded: names that are not configured are counted as `unknown`.
    `families` has every metric in the order of the exposition.
    """

    def __init__(self) -> None:
        who = ("model", "version", "label")
        self.requests = Counter(
            "gateway_requests_total", "Requests with a response, by HTTP status.", *who, "kind", "code"
        )
        self.errors = Counter(
            "gateway_errors_total", "Requests without a prediction, by the stage that rejected them.",
            *who, "stage", "code",
        )  # fmt: skip
        self.seconds = Histogram(
            "gateway_request_seconds", "From the request's head to its response.", LATENCY_BOUNDS, *who
        )
        self.stage_seconds = Histogram(
            "gateway_stage_seconds", "Time of one stage of one request.", STAGE_BOUNDS, "model", "stage"
        )
        self.records = Counter("gateway_records_total", "Records that got a prediction.", *who)
        self.retries = Counter("gateway_retries_total", "Calls repeated on another model server.", "reason")
        self.hedges = Counter("gateway_hedges_total", "Late calls that could be sent to a second replica.", "result")
        self.shed = Counter("gateway_shed_total", "Requests rejected to protect the gateway.", "reason")
        self.mismatches = Counter(
            "gateway_spec_mismatches_total", "Responses discarded: they came from another version than expected.",
            "model",
        )  # fmt: skip
        self.fallbacks = Counter(
            "gateway_fallbacks_total", "Requests repeated on the fallback label after they failed on `label`.",
            "model", "label",
        )  # fmt: skip
        self.shadow = Counter(
            "gateway_shadow_records_total", "Mirrored records: agreed, disagreed, failed, or dropped for lack of room.",
            "model", "label", "result",
        )  # fmt: skip
        self.lookups = Counter(
            "gateway_lookups_total", "Keys looked up: known, asked (of the store), missed (in both), or failed.",
            "store", "result",
        )  # fmt: skip
        self.cache_requests = Counter(
            "gateway_cache_requests_total", "Calls that the response cache was asked for.", "model", "result"
        )
        self.cache_dropped = Counter("gateway_cache_dropped_total", "Responses that were dropped.", "reason")
        self.callers = Counter(
            "gateway_caller_requests_total", "Requests with a response, by API key.", "caller", "code"
        )
        self.denied = Counter("gateway_denied_total", "Requests that were denied.", "reason")
        self.ejections = Counter("gateway_backend_ejections_total", "Times a model server was taken out of use.")
        self.batch_rows = Histogram("gateway_batch_rows", "Rows in one joined call.", ROWS_BOUNDS, "model")
        self.reloads = Counter("gateway_config_reloads_total", "Config files read after a change.", "result")
        self.families: list[Counter | Gauge | Histogram] = [
            self.requests, self.errors, self.seconds, self.stage_seconds, self.records, self.retries, self.hedges,
            self.shed, self.mismatches, self.fallbacks, self.shadow, self.lookups, self.cache_requests,
            self.cache_dropped, self.callers, self.denied, self.ejections, self.batch_rows, self.reloads,
        ]  # fmt: skip

    def gauge(self, name: str, text: str, read: Callable[[], dict[Labels, float]], *labels: str) -> None:
        """Add a gauge; `read` gives its value per combination of `labels`."""
        self.families.append(Gauge(name, text, read, *labels))

    def counter(self, name: str, text: str, read: Callable[[], dict[Labels, float]], *labels: str) -> None:
        """As `gauge`, for what only grows."""
        self.families.append(ReadCounter(name, text, read, *labels))

    def render(self) -> bytes:
        """The exposition, text format 0.0.4."""
        lines: list[str] = []
        for metric in self.families:
            lines += (f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}", *metric.lines())
        return ("\n".join(lines) + "\n").encode()


def _braces(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
