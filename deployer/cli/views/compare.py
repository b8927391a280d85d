"""A comparison of versions for a person."""

from __future__ import annotations

from deployer.cli.console import Table
from deployer.domain.store import size_text
from deployer.models.compare.result import Comparison


def compared_text(found: Comparison, picture: str) -> str:
    """A row for each version, and which of them no other beats."""
    hits = any(one.accuracy is not None for one in found.versions)
    rows = [
        (
            one.label,
            _number(one.accuracy, "{:.2%}") if hits else _number(one.error, "{:.4g}"),
            f"{one.p50_ms:.2f}",
            f"{one.p99_ms:.2f}",
            f"{one.cpu_ms:.3f}",
            size_text(one.size),
            f"{one.load_seconds:.2f}",
            size_text(one.memory),
            ", ".join(one.failed_gates) or ("none" if found.gates else None),
        )
        for one in found.versions
    ]
    columns = ("version", "accuracy" if hits else "mean error", "p50 ms", "p99 ms", "cpu ms", "size", "load s")
    table = Table(columns=(*columns, "memory", "failed gates"), rows=rows)
    names = {one.version: one.label for one in found.versions}
    best = ", ".join(names[version] for version in found.front)
    return (
        f"{table}\n\nbeaten by no other: {best}\n"
        f"{found.records} records, {found.requests} requests of one record, {found.threads} threads"
        + (f"\n{picture}" if picture else "")
    )


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else form.format(value)
