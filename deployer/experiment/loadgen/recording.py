"""HdrHistograms of a trial: encoded, merged across processes, written as logs.

Values are whole microseconds from 1 µs to 1 hour with three significant digits.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogWriter

from deployer.experiment.latency import PERCENTILES, Latency, latency

_MAX_US = 3_600_000_000


def encode(seconds: Sequence[float]) -> str:
    """A histogram of durations in the compressed base64 form of HdrHistogram (V2)."""
    histogram = _new()
    micros = np.clip(np.rint(np.asarray(seconds, np.float64) * 1e6), 1, _MAX_US).astype(np.int64)
    for value, count in zip(*(a.tolist() for a in np.unique(micros, return_counts=True)), strict=True):
        histogram.record_value(value, count)
    return str(histogram.encode().decode())


def merge(encoded: Iterable[str]) -> str:
    """The sum of several histograms, in the same form."""
    total = _new()
    for text in encoded:
        total.add(HdrHistogram.decode(text.encode()))
    return str(total.encode().decode())


def summary(encoded: str) -> Latency:
    """Percentiles of an encoded histogram."""
    histogram = HdrHistogram.decode(encoded.encode())
    count = int(histogram.get_total_count())
    if count == 0:
        return latency(count=0, mean_ms=0, max_ms=0, values_ms={})
    values = histogram.get_percentile_to_value_dict(list(PERCENTILES))
    return latency(
        count=count,
        mean_ms=histogram.get_mean_value() / 1e3,
        max_ms=histogram.get_max_value() / 1e3,
        values_ms={q: us / 1e3 for q, us in values.items()},
    )


def log(encoded: str, *, comment: str, started: float, seconds: float) -> str:
    """One histogram as an HdrHistogram log (`started` is a Unix time), for other HdrHistogram tools."""
    text = io.StringIO()
    writer = HistogramLogWriter(text)
    writer.output_comment(comment)
    writer.output_log_format_version()
    writer.output_legend()
    histogram = HdrHistogram.decode(encoded.encode())
    writer.output_interval_histogram(histogram, started, started + seconds, max_value_unit_ratio=1e3)
    return text.getvalue()


def _new() -> HdrHistogram:
    return HdrHistogram(1, _MAX_US, 3)
