"""The gateway, and the deployer, read what Helm makes of settings as they were meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from deployer.targets.cluster.helm_releases import gateway_values, manifest_diff
from deployer.targets.cluster.live_config import as_helm_writes
from deployer.targets.cluster.names import GATEWAY_KEY
from gateway.settings import Settings, parse_settings

WORDS = [
    *("=", "<<", "1e5", "1e-07", ".5", "1.", "1_000", ".1_", "0x_", "0b_", "0x1F", "0o7", "007", "12:30", "+1", "-0"),
    *("2001-12-31", "2001-99-99", "2001-12-31 10:00:00", "yes", "No", "on", "y", "n", "true", "null", "~", "", " a "),
    *(
        ".inf",
        "-.INF",
        ".nan",
        "---",
        "- a",
        "a: b",
        "#a",
        "a #b",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "a\nb",
        "ü",
        "😀",
    ),
]
SMALL = 1e-07
CONFIG = {
    "models": {
        "m": {
            "labels": {"stable": 1},
            "routing": {"weights": {"stable": 100}},
            "specs": {
                "1": {
                    "features": [
                        {"name": "=", "type": "category", "vocabulary": WORDS, "encoding": "index", "unknown": "="},
                        {"name": "x", "type": "float", "normalize": {"mean": SMALL, "std": 12345678.9}, "min": -1e21},
                    ],
                    "input": {"name": "x", "dtype": "float32", "shape": [-1, 2]},
                    "output": {"name": "y", "kind": "raw"},
                }
            },
        }
    }
}
MEANT = msgspec.convert({"version": "v1", "backends": {"dns": "d:8500"}, **CONFIG}, Settings)


def text_of(objects: list[dict[str, Any]]) -> str:
    """The settings in the gateway chart's ConfigMap."""
    return next(str(o["data"][GATEWAY_KEY]) for o in objects if o["kind"] == "ConfigMap" and GATEWAY_KEY in o["data"])


def test_words_and_numbers_come_through_helm_as_they_were_meant(
    render: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    values = tmp_path / "values.json"
    values.write_text(json.dumps({"config": CONFIG}, ensure_ascii=False))
    text = text_of(render("gateway", "-f", str(values)))

    assert "\n          - =\n" in text, "Helm writes quotes now; the test has nothing to show"
    assert parse_settings(text).models == MEANT.models
    assert gateway_values(text)["models"] == CONFIG["models"]
    assert parse_settings(as_helm_writes(text)).models == MEANT.models


def test_a_difference_of_manifests_is_found_whatever_words_are_in_them() -> None:
    manifest = "kind: A\nmetadata: {name: a}\nargs:\n- =\n- <<\n- 2001-99-99\n"

    assert manifest_diff(manifest, manifest, "r") == ""
    assert "-- '='\n+- ==" in manifest_diff(manifest, manifest.replace("- =", "- =="), "r")
