"""Gates as they are written: `p99<200ms`, `error_rate<1%`, `p99<1.2*stable`, `samples>=500`."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import StrEnum


class Metric(StrEnum):
    """What a gate looks at, with the unit its value is kept in."""

    P50 = "p50"
    """Milliseconds."""
    P90 = "p90"
    P95 = "p95"
    P99 = "p99"
    ERROR_RATE = "error_rate"
    """Share of answers, 0 to 1."""
    DISAGREEMENT = "disagreement"
    """Share of mirrored requests that two versions answer differently, 0 to 1."""
    SAMPLES = "samples"
    """Answers in the window."""
    SIZE = "size"
    """Bytes of the version on disk."""
    LOAD_TIME = "load_time"
    """Seconds until AVAILABLE."""
    ACCURACY = "accuracy"
    """Share of a labelled sample that is answered right, 0 to 1."""
    MEMORY = "memory"
    """Bytes resident in the largest replica while both versions are loaded."""
    PARITY = "parity"
    """Largest difference between the exported version and its source, as the manifest says."""


BEFORE_LOAD = frozenset([Metric.SIZE, Metric.PARITY])
"""Known from the store: judged before anything is touched."""
BEFORE_TRAFFIC = frozenset([Metric.LOAD_TIME, Metric.MEMORY, Metric.ACCURACY])
"""Known once the version is loaded and labelled: judged before it gets any traffic."""

_SHARES = frozenset([Metric.ERROR_RATE, Metric.DISAGREEMENT, Metric.ACCURACY])
LATENCIES = frozenset([Metric.P50, Metric.P90, Metric.P95, Metric.P99])
_FLOORS = frozenset([Metric.ACCURACY, Metric.SAMPLES])
_RELATIVE = LATENCIES | {Metric.ERROR_RATE}
_UNITS: dict[Metric, dict[str, float]] = {
    **{metric: {"ms": 1.0, "s": 1000.0, "us": 0.001} for metric in LATENCIES},
    **{metric: {"": 1.0, "%": 0.01} for metric in _SHARES},
    Metric.SAMPLES: {"": 1.0},
    Metric.SIZE: {"kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
    Metric.MEMORY: {"kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
    Metric.PARITY: {"": 1.0},
    Metric.LOAD_TIME: {"s": 1.0, "ms": 0.001, "m": 60.0},
}
_GATE = re.compile(r"\s*([a-z0-9_]+)\s*(<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?)\s*(\*\s*stable|[A-Za-z%]*)\s*")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """`metric` must stand in `relation` ("<", "<=", ">", ">=") to `bound`, in the metric's unit.

    With `of_stable` the bound is a multiple of the stable label's value of the same metric.
    """

    text: str
    metric: Metric
    relation: str
    bound: float
    of_stable: bool = False

    def holds(self, value: float, scale: float = 1.0) -> bool:
        """Whether a value stands in the relation to the bound; `scale` is stable's value for a relative gate."""
        bound = self.bound * scale
        if self.relation == "<":
            return value < bound
        if self.relation == "<=":
            return value <= bound
        if self.relation == ">":
            return value > bound
        return value >= bound


@functools.cache
def parse_gate(text: str) -> Gate:
    """Read one gate. Errors: ValueError naming what is wrong with it and what could stand there."""
    match = _GATE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is no gate; write METRIC, one of < <= > >=, and a bound, as in p99<200ms")
    name, relation, number, unit = match.groups()
    if name not in {metric.value for metric in Metric}:
        raise ValueError(f"gate {text!r}: no metric {name!r}; there are {', '.join(Metric)}")
    metric = Metric(name)
    of_stable = unit.startswith("*")
    if relation.startswith("<") == (metric in _FLOORS):
        raise ValueError(f"gate {text!r}: {metric} is bounded by {'> or >=' if metric in _FLOORS else '< or <='}")
    if of_stable and metric not in _RELATIVE:
        raise ValueError(f"gate {text!r}: {metric} is not compared with stable")
    units = {"*": 1.0} if of_stable else _UNITS[metric]
    unit = "*" if of_stable else unit
    if unit not in units:
        wanted = ", ".join(known or "none" for known in units)
        raise ValueError(f"gate {text!r}: unit {unit or 'none'} does not fit {metric}; expected {wanted}")
    bound = float(number) * units[unit]
    if metric in _SHARES and not of_stable and bound > 1:
        raise ValueError(f"gate {text!r}: {metric} is a share and never above 100%")
    return Gate(text=text.strip(), metric=metric, relation=relation, bound=bound, of_stable=of_stable)
