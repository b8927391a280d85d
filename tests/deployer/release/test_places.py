"""An error about a file says where in the file: line and column, whatever the file is."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.errors import SpecError
from deployer.records import files
from deployer.release import spec
from deployer.release.git import values_files
from gateway.settings import SettingsError, parse_settings
from gateway.spec.base import SpecProblem
from gateway.spec.reading.places import place_of
from gateway.spec.reading.problems import read_all

HEAD = "release: demo\nstore: models\nmodels:\n  - name: m\n"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (HEAD + "    signatur: x\n", "line 5, column 5"),
        (HEAD + "serving:\n  replicas: many\n", "line 6, column 3"),
        (HEAD + "serving: {resources: {cpu: none}}\n", "line 5, column 11"),
        (HEAD + "autoscaling: {min_replicas: 5, max_replicas: 2}\n", "line 5, column 1"),
        (HEAD + "gates:\n  - p99<1s\n  - p99~2s\n", "line 7, column 5"),
        (HEAD + "gateway:\n  limits:\n    timeout: 3\n", "line 7, column 5"),
        ("release: demo\nstore: models\n", "line 1, column 1"),  # the key that is missing has no place of its own
    ],
)
def test_deployer_yaml(text: str, place: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as refused:
        spec.parse(text, tmp_path)
    assert refused.value.cause == place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("version: v1\nmodelz: 3\n", "line 2, column 1"),
        ("version: v1\nbackends:\n  static: 3\n", "line 3, column 3"),
        ("version: v1\nbackends: {static: ['h:1']}\nmodels:\n  m:\n    label: {}\n", "line 5, column 5"),
        ("models: [\n", "line 2, column 1"),
    ],
)
def test_gateway_yaml(text: str, place: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_settings(text)
    assert place in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_feature_spec_that_is_no_yaml() -> None:
    with pytest.raises(SpecProblem, match=r"line 3, column 1: did not find expected node content"):
        read_all("inputs: 1\nfeatures: [\n")


def test_values_files(tmp_path: Path) -> None:
    path = tmp_path / "v.yaml"
    path.write_text("models:\n  - {name: m\n")
    with pytest.raises(SpecError, match="is not valid YAML") as refused:
        values_files._read(path, dict)
    assert refused.value.cause.startswith("line 3, column 1: ")


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"record": {"a": 1}}\n{"record": {"a": }}\n')
    with pytest.raises(SpecError, match=r"r\.jsonl:2: not JSON: expecting value at column 18"):
        files.load(path)


def test_a_text_without_the_place_has_none() -> None:
    assert place_of("a: [", "a") == ""
    assert place_of("", "a") == ""
