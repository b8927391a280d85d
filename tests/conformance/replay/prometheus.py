"""The text format of Prometheus, reduced to what recordings keep.

Lines that break the format are passed over: the real server writes names with line breaks as they are.
"""

from __future__ import annotations

import re

from replay.cases import Answer
from replay.steps import Metrics

_TYPE = re.compile(r"# TYPE (\S+) (\w+)")
_SAMPLE = re.compile(r"(?P<name>[^\s{]+)(?P<labels>\{.*\})?\s+(?P<value>\S+)$")
_BOUND = re.compile(r',?le="([^"]*)"')
_PART = re.compile(r"_(bucket|sum|count)$")


def observed(text: str, wanted: Metrics) -> Answer:
    """Types, label sets, bounds of histograms and values of the metrics that a case asks for.

    `series` has the label sets of each metric without `le`; `types_without_series` the types that no sample has, which
    depend on the libraries that were linked in; `comment_lines` the kinds of comments.
    """
    types: dict[str, str] = {}
    series: dict[str, set[str]] = {}
    bounds: dict[str, dict[str, list[str]]] = {}
    values: dict[str, str] = {}
    for line in text.splitlines():
        if found := _TYPE.match(line):
            types[found[1]] = found[2]
        elif sample := _SAMPLE.match(line):
            name, labels = sample["name"], sample["labels"] or ""
            bound = _BOUND.search(labels)
            labels = _BOUND.sub("", labels)
            metric = name if name in types else _PART.sub("", name)
            series.setdefault(metric, set()).add(labels)
            if bound:
                bounds.setdefault(metric, {}).setdefault(labels, []).append(bound[1])
            elif not name.endswith("_sum") and re.search(wanted.values, name):
                values[name + labels] = sample["value"]

    def kept(name: str) -> bool:
        return re.search(wanted.only, name) is not None

    return {
        "types": {name: kind for name, kind in types.items() if kept(name) and name in series},
        "types_without_series": [*sorted(name for name in types if kept(name) and name not in series)],
        "series": {
            name: [*sorted(labels)] for name, labels in series.items() if kept(name) and re.search(wanted.series, name)
        },
        "bounds": {name: [*next(iter(of.values()))] for name, of in bounds.items() if kept(name)},
        "values": {**values},
        "comment_lines": [*sorted({line.split()[1] for line in text.splitlines() if re.match(r"#\s*\S", line)})],
    }
