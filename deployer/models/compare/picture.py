"""A picture of a comparison: accuracy over latency; the area is the size, the lines are the gates."""

from __future__ import annotations

from pathlib import Path

from deployer.domain.gate import Metric, parse_gate
from deployer.models.compare.result import Comparison
from deployer.tools import pictures

FRONT, BEATEN, GATE = "#2563eb", "#94a3b8", "#dc2626"
AREA = 1600.0
"""Of the largest version, in square points."""


def draw(found: Comparison, path: Path) -> None:
    """Write the picture. Errors: as for `pictures.require`."""
    figure = pictures.blank(path, 8, 5)
    axes = figure.add_subplot()
    largest = max(one.size for one in found.versions)
    hits = any(one.accuracy is not None for one in found.versions)
    for one in found.versions:
        y = one.accuracy if hits else one.error
        best = one.version in found.front
        axes.scatter(
            one.p99_ms, y or 0.0, s=max(AREA * one.size / largest, 30.0), alpha=0.7, color=FRONT if best else BEATEN
        )
        axes.annotate(one.label, (one.p99_ms, y or 0.0), textcoords="offset points", xytext=(10, 8), fontsize=9)
    for text in found.gates:
        gate = parse_gate(text)
        if gate.metric is Metric.P99:
            axes.axvline(gate.bound, color=GATE, linestyle="--", linewidth=1)
        elif gate.metric is Metric.ACCURACY and hits:
            axes.axhline(gate.bound, color=GATE, linestyle="--", linewidth=1)
    axes.margins(0.25)
    axes.set_xlabel("latency of one record, 99th percentile (ms)")
    axes.set_ylabel("accuracy" if hits else "mean absolute error")
    axes.set_title(f"{found.model}: the area is the size, blue is beaten by no other", fontsize=11)
    axes.grid(alpha=0.3)
    pictures.save(figure, path)
