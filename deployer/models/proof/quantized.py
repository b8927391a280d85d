"""Whether a quantized model still says what its source says: its error, and how often the highest score is the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deployer.domain.store import ParityFact, Quantize
from deployer.errors import ExportError
from tfserving.wire.tensors import Array


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """`error` bounds the root mean square difference, as a share of the range of the source's output; `agreement` is
    the least share of rows with the same highest score. None stands for the bound of the quantization."""

    error: float | None = None
    agreement: float | None = None


DEFAULTS: Mapping[Quantize, tuple[float, float]] = {
    Quantize.FLOAT16: (0.005, 0.99),
    Quantize.DYNAMIC: (0.02, 0.97),
    Quantize.INT8: (0.05, 0.95),
}
"""Error and agreement by quantization."""


def compare(
    source: Mapping[str, Array], written: Mapping[str, Array], quantize: Quantize, bounds: Bounds, *, rows: int
) -> ParityFact:
    """Compare the outputs for the same `rows` sample rows. Errors: ExportError naming the output and what was found.

    A row whose two scores were closer in the source than the error of the output does not disagree.
    """
    if not written.keys() <= source.keys():
        raise ExportError(
            "the quantized model has other outputs than its source",
            cause=f"source: {', '.join(sorted(source))}; written: {', '.join(sorted(written))}",
            hint="the source must return the names of its signature",
        )
    largest, smallest = DEFAULTS[quantize]
    largest = largest if bounds.error is None else bounds.error
    smallest = smallest if bounds.agreement is None else bounds.agreement
    difference, worst, agreements = 0.0, 0.0, []
    for name in sorted(written):
        before, after = np.asarray(source[name]), np.asarray(written[name])
        if before.shape != after.shape:
            raise _worse(name, f"the source has shape {list(before.shape)}, the model {list(after.shape)}")
        if before.dtype.kind not in "fiu" or before.size == 0:
            continue
        before, after = before.astype(np.float64), after.astype(np.float64)
        error = _error(before, after)
        if not error <= largest:
            raise _worse(name, f"the root mean square difference is {error:.2%} of its range, allowed is {largest:.2%}")
        if (same := _agreement(before, after)) is not None:
            agreements.append(same)
            if same < smallest:
                raise _worse(name, f"{same:.1%} of {rows} rows have the same highest score, required is {smallest:.1%}")
        difference, worst = max(difference, float(np.abs(after - before).max())), max(worst, error)
    return ParityFact(
        rows=rows,
        rtol=0.0,
        atol=0.0,
        max_difference=difference,
        error=worst,
        agreement=min(agreements, default=None),
    )


def _error(before: Array, after: Array) -> float:
    if not np.isfinite(after).all():
        return float("inf")
    spread = float(before.max() - before.min()) or max(float(np.abs(before).max()), 1.0)
    return float(np.sqrt(np.mean((after - before) ** 2))) / spread


def _agreement(before: Array, after: Array) -> float | None:
    if before.ndim != 2 or before.shape[1] < 2:
        return None
    index = np.arange(len(before))
    lost = before.max(axis=1) - before[index, after.argmax(axis=1)]
    return float(np.mean(lost <= np.sqrt(np.mean((after - before) ** 2))))


def _worse(name: str, what: str) -> ExportError:
    return ExportError(
        f"the quantized model differs too much from its source: output '{name}'",
        cause=what,
        hint="quantize less (--quantize dynamic, float16), give more and typical --samples, or set --max-error and "
        "--min-agreement",
    )
