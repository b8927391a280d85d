"""What a comparison found, and which versions no other beats. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SAME = 0.05
"""Measured costs that differ by less than this share count as equal: they vary as much from run to run."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One version.

    `accuracy` is the share of records whose prediction is the expected one; where predictions are numbers it is None
    and `error` is the mean absolute error. Latencies, in milliseconds, are those of requests with one record;
    `cpu_ms` is the CPU time of the server per such record. `size` and `memory` are bytes: of all files, and resident
    after the requests. `load_seconds` is from the order to load the version until it was available. `failed_gates`
    are the gates that it does not meet.
    """

    version: int
    format: str
    quantize: str
    accuracy: float | None
    error: float | None
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    size: int
    load_seconds: float
    memory: int
    failed_gates: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The version with what it holds: "3 (tflite int8)"."""
        kind = self.format if self.format != "tflite" else f"tflite {self.quantize}"
        return f"{self.version} ({kind})"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All versions of a model, in the order in which they were named; `front` are those that no other beats."""

    model: str
    records: int
    requests: int
    threads: int
    versions: tuple[Measured, ...]
    front: tuple[int, ...]
    gates: tuple[str, ...] = ()


def front(versions: Sequence[Measured]) -> tuple[int, ...]:
    """The versions that no other beats.

    One beats another when it is nowhere worse and somewhere better: in accuracy (or error), median latency, CPU time,
    size and memory. The 99th percentile and the load time vary too much to decide.
    """
    return tuple(one.version for one in versions if not any(beats(other, one) for other in versions))


def beats(one: Measured, other: Measured) -> bool:
    """Whether `one` is nowhere worse than `other` and somewhere better."""
    right = _compared(-(one.accuracy or 0.0), -(other.accuracy or 0.0), 0.0)
    wrong = _compared(one.error or 0.0, other.error or 0.0, 0.0)
    pairs = ((one.p50_ms, other.p50_ms), (one.cpu_ms, other.cpu_ms), (one.size, other.size), (one.memory, other.memory))
    found = [right, wrong, *(_compared(first, second, SAME) for first, second in pairs)]
    return max(found) <= 0 and min(found) < 0


def _compared(one: float, other: float, share: float) -> int:
    """-1 when the first is smaller, 1 when it is larger, 0 when they are equal within a share of the larger."""
    if abs(one - other) <= share * max(abs(one), abs(other)):
        return 0
    return -1 if one < other else 1
