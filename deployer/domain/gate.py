"""Gates and their syntax: `p99<200ms`, `error_rate<1%`, `p99<1.2*stable`, `samples>=500`."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import StrEnum


class Metric(StrEnum):
    """What a gate checks, with the unit of its value."""

    P50 = "p50"
    """Milliseconds."""
    P90 = "p90"
    P95 = "p95"
    P99 = "p99"
    ERROR_RATE = "error_rate"
    """Share of failed requests, 0 to 1."""
    DISAGREEMENT = "disagreement"
    """Share of mirrored requests for which the two versions predict differently, 0 to 1."""
    SAMPLES = "samples"
    """Responses in the window."""
    SIZE = "size"
    """Bytes of the version on disk."""
    LOAD_TIME = "load_time"
    """Seconds until the version is AVAILABLE."""
    ACCURACY = "accuracy"
    """Share of a labelled sample that is predicted correctly, 0 to 1."""
    MEMORY = "memory"
    """Resident bytes of the largest replica while both versions are loaded."""
    PARITY = "parity"
    """Largest difference between the exported version and its source model, from the manifest."""
    SKEW = "skew"
    """Largest difference between what training and the feature spec made of the same rows, from the manifest."""
    DRIFT = "drift"
    """Largest population stability index of canary's records, against training and against those of stable."""


BEFORE_LOAD = frozenset([Metric.SIZE, Metric.PARITY, Metric.SKEW])
"""Known from the store: judged before anything changes."""
BEFORE_TRAFFIC = frozenset([Metric.LOAD_TIME, Metric.MEMORY, Metric.ACCURACY])
"""Known once the version is loaded and labelled: judged before it gets any traffic."""

COUNTS_ONLY = frozenset([Metric.SAMPLES])
"""Says that there was traffic, not whether it went well."""

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
    Metric.SKEW: {"": 1.0},
    Metric.DRIFT: {"": 1.0},
    Metric.LOAD_TIME: {"s": 1.0, "ms": 0.001, "m": 60.0},
}
_GATE = re.compile(r"\s*([a-z0-9_]+)\s*(<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?)\s*(\*\s*stable|[A-Za-z%]*)\s*")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A condition: `metric` `relation` ("<", "<=", ">", ">=") `bound`, in the metric's unit.

    With `of_stable` the bound is a multiple of the stable label's value of the same metric.
    """

    text: str
    metric: Metric
    relation: str
    bound: float
    of_stable: bool = False

    def holds(self, value: float, scale: float = 1.0) -> bool:
        """Whether a value satisfies the gate; `scale` is the stable label's value for a relative gate."""
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
    """Parse one gate. Errors: ValueError that says what is wrong and what is allowed."""
    match = _GATE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a gate; write METRIC, one of < <= > >=, and a bound, as in p99<200ms")
    name, relation, number, unit = match.groups()
    if name not in {metric.value for metric in Metric}:
        raise ValueError(f"gate {text!r}: unknown metric {name!r}; metrics are {', '.join(Metric)}")
    metric = Metric(name)
    of_stable = unit.startswith("*")
    if relation.startswith("<") == (metric in _FLOORS):
        raise ValueError(f"gate {text!r}: use {'> or >=' if metric in _FLOORS else '< or <='} with {metric}")
    if of_stable and metric not in _RELATIVE:
        raise ValueError(f"gate {text!r}: {metric} cannot be relative to stable")
    units = {"*": 1.0} if of_stable else _UNITS[metric]
    unit = "*" if of_stable else unit
    if unit not in units:
        wanted = ", ".join(known or "none" for known in units)
        raise ValueError(f"gate {text!r}: unit {unit or 'none'} is not valid for {metric}; expected {wanted}")
    bound = float(number) * units[unit]
    if metric in _SHARES and not of_stable and bound > 1:
        raise ValueError(f"gate {text!r}: {metric} is a share and cannot be above 100%")
    return Gate(text=text.strip(), metric=metric, relation=relation, bound=bound, of_stable=of_stable)
