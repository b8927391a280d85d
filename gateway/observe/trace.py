"""What is remembered of one request while it is worked on, for its metrics."""

from __future__ import annotations

from time import perf_counter

from gateway.observe.metrics import Metrics

UNKNOWN = "unknown"
"""Stands for a model or label that the config does not know: clients cannot create series."""


class Trace:
    """Who a request was for and how long its stages took."""

    __slots__ = ("_marked", "failed", "kind", "label", "model", "records", "stages", "started", "version")

    def __init__(self) -> None:
        self.model = UNKNOWN
        self.version = ""
        self.label = ""
        self.kind = ""
        self.records = 0
        self.failed = ""
        """The stage that refused it."""
        self.stages: list[tuple[str, float]] = []
        self.started = self._marked = perf_counter()

    def mark(self, stage: str) -> None:
        """The time since the last mark belongs to `stage`."""
        now = perf_counter()
        self.stages.append((stage, now - self._marked))
        self._marked = now

    def adopt(self, shared: Trace) -> None:
        """Take over the stages that this request has gone through together with others."""
        self.stages += shared.stages
        self._marked = perf_counter()

    def server_timing(self) -> bytes:
        """The stages as the header Server-Timing, in milliseconds."""
        return ", ".join(f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in self.stages).encode()

    def finish(self, metrics: Metrics, status: int, failed_stage: str) -> None:
        """Count the request."""
        code, self.failed = str(status), failed_stage
        model, version, label = self.model, self.version, self.label
        metrics.requests.add(model, version, label, self.kind, code)
        metrics.seconds.observe(perf_counter() - self.started, model, version, label)
        for stage, seconds in self.stages:
            metrics.stage_seconds.observe(seconds, model, stage)
        if status >= 400:
            metrics.errors.add(model, version, label, failed_stage, code)
        elif self.records:
            metrics.records.add(model, version, label, amount=self.records)
