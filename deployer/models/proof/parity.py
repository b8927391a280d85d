"""Parity: whether the written SavedModel gives the same outputs as its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deployer.domain.store import ParityFact
from deployer.errors import ExportError
from tfserving.wire.tensors import Array


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Two numbers are equal when |written - source| <= atol + rtol * |source|; text, bools and integers exactly."""

    rtol: float = 1e-4
    atol: float = 1e-5


def compare(
    source: Mapping[str, Array], written: Mapping[str, Array], tolerance: Tolerance, *, rows: int
) -> ParityFact:
    """Compare the outputs for the same `rows` sample rows. Errors: ExportError naming the output and the difference."""
    if source.keys() != written.keys():
        raise ExportError(
            "the written SavedModel has other outputs than its source",
            cause=f"source: {', '.join(sorted(source))}; written: {', '.join(sorted(written))}",
            hint="the source must return the names of its signature",
        )
    worst = 0.0
    for name in sorted(source):
        worst = max(worst, _difference(name, np.asarray(source[name]), np.asarray(written[name]), tolerance))
    return ParityFact(rows=rows, rtol=tolerance.rtol, atol=tolerance.atol, max_difference=worst)


def _difference(name: str, source: Array, written: Array, tolerance: Tolerance) -> float:
    if source.shape != written.shape:
        raise _unequal(name, f"the source has shape {list(source.shape)}, the SavedModel {list(written.shape)}")
    if source.size == 0:
        return 0.0
    if source.dtype.kind in "OSUbiu":
        unequal = source != written
        if unequal.any():
            raise _unequal(name, f"{_where(unequal)}: source {source[unequal][0]}, written {written[unequal][0]}")
        return 0.0
    wide = np.complex128 if source.dtype.kind == "c" else np.float64
    source, written = source.astype(wide), written.astype(wide)
    same = (source == written) | (np.isnan(source) & np.isnan(written))
    difference = np.where(same, 0.0, np.abs(written - source))
    allowed = tolerance.atol + tolerance.rtol * np.abs(source)
    outside = ~same & ~(difference <= allowed)
    if outside.any():
        raise _unequal(
            name,
            f"{_where(outside)}: source {source[outside][0]:.6g}, written {written[outside][0]:.6g}; "
            f"allowed is {tolerance.atol:g} + {tolerance.rtol:g} * |source|",
        )
    return float(difference.max())


def _where(unequal: Array) -> str:
    first = np.argwhere(unequal)[0].tolist()
    return f"{int(unequal.sum())} of {unequal.size} values differ, first at {first}"


def _unequal(name: str, what: str) -> ExportError:
    return ExportError(
        f"the written SavedModel differs from its source: output '{name}'",
        cause=what,
        hint="make inference deterministic, or raise --rtol or --atol",
    )
