"""A string of the values stays a string: it renders as it is, or the chart refuses it by name. It never adds a key."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Render = Callable[..., list[dict[str, Any]]]

HOSTILE = ("a\ninjected: true", "a: #b", "*.example.com", "{{ fail `x` }}", "true", "1e3", "'", '"')

PLACES: dict[str, dict[str, dict[str, Any]]] = {
    "gateway": {
        "priorityClassName": {}, "schedulerName": {}, "runtimeClassName": {},
        "ingress.className": {"ingress": {"enabled": True, "hosts": ["a.example.com"]}},
        "ingress.hosts[]": {"ingress": {"enabled": True}},
        "ingress.path": {"ingress": {"enabled": True, "hosts": ["a.example.com"]}},
        "service.loadBalancerClass": {"service": {"type": "LoadBalancer"}},
        "service.loadBalancerSourceRanges[]": {"service": {"type": "LoadBalancer"}},
        "global.imageRegistry": {}, "podDisruptionBudget.minAvailable": {}, "podDisruptionBudget.maxUnavailable": {},
        "image.repository": {}, "image.tag": {}, "podMonitor.interval": {"podMonitor": {"enabled": True}},
        "podMonitor.scrapeTimeout": {"podMonitor": {"enabled": True}},
        "config.models.m.signature": {"config": {"models": {"m": {"labels": {"stable": 1}}}}},
    },
    "tf-serving": {
        "priorityClassName": {}, "schedulerName": {}, "runtimeClassName": {}, "image.repository": {}, "image.tag": {},
        "persistence.storageClass": {"persistence": {"enabled": True}},
        "service.loadBalancerClass": {"service": {"type": "LoadBalancer"}}, "global.imageRegistry": {},
        "helmTest.image": {}, "podMonitor.interval": {"podMonitor": {"enabled": True}},
    },
}  # fmt: skip
"""Paths of strings that people choose freely, and the values that bring them into a manifest."""

CASES = [(chart, place, text) for chart, places in PLACES.items() for place in places for text in HOSTILE]


@pytest.mark.parametrize(("chart", "place", "text"), CASES)
def test_a_string_never_becomes_anything_else(
    render: Render, tmp_path: Path, chart: str, place: str, text: str
) -> None:
    values = with_text(PLACES[chart][place], place, text)
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(values))
    base = Path(__file__).resolve().parents[2] / "charts" / chart / "ci" / "default-values.yaml"
    files = ("-f", str(base), "-f", str(file))
    refusal, objects = rendered(render, chart, *files)
    if refusal:
        assert place.removesuffix("[]").rpartition(".")[2] in refusal or place.split(".")[0] in refusal
        assert "YAML" not in refusal
        return
    found = [*leaves(objects)]
    assert "injected" not in {key for key, _ in found}
    assert any(isinstance(value, str) and text in value for _, value in found)


def rendered(render: Render, chart: str, *arguments: str) -> tuple[str, list[dict[str, Any]]]:
    """Why helm refuses, empty if it does not; and the objects."""
    try:
        return "", render(chart, *arguments)
    except subprocess.CalledProcessError as refused:
        return str(refused.stderr), []


def with_text(values: dict[str, Any], place: str, text: str) -> dict[str, Any]:
    """The values with a text at a path; `[]` makes it the only item of a list."""
    whole: dict[str, Any] = json.loads(json.dumps(values))
    *parents, last = place.removesuffix("[]").split(".")
    at = whole
    for parent in parents:
        at = at.setdefault(parent, {})
    at[last] = [text] if place.endswith("[]") else text
    return whole


def leaves(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Every key with its value, and what texts of ConfigMaps hold is left as the text that it is."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield str(name), None
            yield from leaves(below, str(name))
    elif isinstance(value, list):
        for below in value:
            yield from leaves(below, key)
    else:
        yield key, value
