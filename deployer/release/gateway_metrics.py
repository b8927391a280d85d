"""Counts of gateways in a time window: the difference of two readings of /metrics."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from deployer.errors import DeployerError, TargetError
from deployer.release.window import LabelWindow
from deployer.targets.base import Target

GET_TIMEOUT = 5.0

SERVER_STAGES = frozenset(["backend", "interpret", "spec"])
"""Stages of the gateway at which a request fails because of the version or its server. At the other stages the request
was invalid, unless the status is 5xx."""

SHADOW = "gateway_shadow_records_total"

_SERIES = re.compile(r"(gateway_\w+)\{([^\n]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Series = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]
"""Value by name and labels."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The counts of each gateway for one model since its start; gateways in `silent` did not respond."""

    model: str
    gateways: Mapping[str, Series]
    silent: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Window:
    """Counts between two readings: by label, and of the requests that were mirrored to canary."""

    labels: Mapping[str, LabelWindow]
    compared: int = 0
    disagreed: int = 0


def read(target: Target, model: str) -> Reading:
    """Query every running gateway. Errors: TargetError when none responds."""
    found: dict[str, Series] = {}
    silent = set()
    for gateway in target.gateways():
        try:
            reply = target.get(gateway.name, "/metrics", timeout=GET_TIMEOUT)
        except DeployerError:
            silent.add(gateway.name)  # it is starting or terminating
            continue
        if reply.status == 200:
            found[gateway.name] = dict(_series(reply.body.decode(errors="replace"), model))
        else:
            silent.add(gateway.name)
    if not found:
        raise TargetError("no gateway serves its metrics", hint="`deployer status` shows why")
    return Reading(model=model, gateways=found, silent=frozenset(silent))


def between(before: Reading, after: Reading) -> Window:
    """The counts between two readings.

    A counter that has decreased belongs to a gateway that restarted. A gateway that did not exist before only has
    counts from the window. A gateway that did not respond before may have older counts: it is ignored.
    """
    grown = growth(before, after)
    return Window(
        labels=_labels(grown),
        compared=_mirrored(grown, "agreed", "disagreed", "failed"),
        disagreed=_mirrored(grown, "disagreed", "failed"),
    )


def growth(before: Reading, after: Reading) -> Series:
    """The increase of each series, over all gateways that responded both times or have started since."""
    grown: dict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
    for name, series in after.gateways.items():
        if name in before.silent:
            continue
        earlier = before.gateways.get(name, {})
        restarted = any(value < earlier.get(key, 0.0) for key, value in series.items())
        for key, value in series.items():
            grown[key] += value if restarted else value - earlier.get(key, 0.0)
    return grown


def _series(text: str, model: str) -> Iterator[tuple[tuple[str, tuple[tuple[str, str], ...]], float]]:
    for match in _SERIES.finditer(text):
        labels = tuple(_LABEL.findall(match[2]))
        if ("model", model) in labels:
            yield (match[1], labels), float(match[3])


def _mirrored(grown: Series, *results: str) -> int:
    """Mirrored records with one of these results; a failure of canary counts as a disagreement."""
    found = (v for (name, pairs), v in grown.items() if name == SHADOW and dict(pairs)["result"] in results)
    return round(sum(found))


def _labels(grown: Series) -> dict[str, LabelWindow]:
    responses: dict[str, float] = defaultdict(float)
    failed: dict[str, float] = defaultdict(float)
    buckets: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for (name, pairs), value in grown.items():
        facts = dict(pairs)
        label = facts.get("label", "")
        if name == "gateway_requests_total":
            responses[label] += value
        elif name == "gateway_errors_total":
            server_error = facts["stage"] in SERVER_STAGES or facts["code"].startswith("5")
            failed[label] += value if server_error else 0
            responses[label] -= 0 if server_error else value
        elif name == "gateway_request_seconds_bucket":
            buckets[label][float(facts["le"])] += value
    return {
        label: replace(_latency(buckets[label]), responses=round(responses[label]), failed=round(failed[label]))
        for label in responses.keys() | buckets.keys()
    }


def _latency(cumulative: Mapping[float, float]) -> LabelWindow:
    bounds = sorted(cumulative)
    counts = [round(cumulative[bound]) for bound in bounds]
    single = tuple(count - below for count, below in zip(counts, [0, *counts], strict=False))
    return LabelWindow(latency_bounds=tuple(bound * 1000 for bound in bounds[:-1]), latency=single)
