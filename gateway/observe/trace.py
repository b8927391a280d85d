"""What is remembered of one request while it is worked on, for its metrics."""

from __future__ import annotations

from time import perf_counter
from typing import Final

from gateway.observe.metrics import Metrics

UNKNOWN = "unknown"
"""Stands for a model or label that the config does not know: clients cannot create series."""
HIT, COLLAPSED, MISS, BYPASS = "hit", "collapsed", "miss", "bypass"
"""What the response cache did: knew the response; joined a call of an equal request; asked; was told not to look."""
CACHE_STATUS: Final = {
    HIT: b"gateway; hit",
    COLLAPSED: b"gateway; fwd=miss; collapsed",
    MISS: b"gateway; fwd=miss",
    BYPASS: b"gateway; fwd=request",
}
"""The same as the header Cache-Status (RFC 9211)."""
_FARTHER: Final = ("", HIT, COLLAPSED, MISS, BYPASS)


class Trace:
    """Who a request was for and how long its stages took."""

    __slots__ = ("_marked", "cache", "failed", "kind", "label", "model", "records", "stages", "started", "version")

    def __init__(self) -> None:
        self.model = UNKNOWN
        self.version = ""
        self.label = ""
        self.kind = ""
        self.records = 0
        self.failed = ""
        """The stage that refused it."""
        self.cache = ""
        """What the response cache did, where there is one."""
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

    def looked_up(self, result: str) -> None:
        """Take a result of the response cache; of a request that made several calls, the farthest that one went."""
        if _FARTHER.index(result) > _FARTHER.index(self.cache):
            self.cache = result

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
