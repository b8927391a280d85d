"""docs/reference/features-yaml.md: its examples load, and no key of a spec is missing from it."""

from __future__ import annotations

import re

import msgspec
import pytest
from paths import ROOT

from gateway.spec import FeatureSpec, Output, parse_spec

PAGE = (ROOT / "docs/reference/features-yaml.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_load(example: str) -> None:
    parse_spec(example)


def test_examples_show_every_type_and_kind() -> None:
    specs = [parse_spec(example) for example in EXAMPLES]
    types = {feature.__struct_config__.tag for spec in specs for feature in spec.features}
    kinds = {spec.output.__struct_config__.tag for spec in specs}
    assert types == {"float", "int", "bool", "category", "string", "vector", "image"}
    assert kinds == {"classification", "binary", "regression", "raw"}


def test_every_key_is_described() -> None:
    _, schemas = msgspec.json.schema_components([FeatureSpec, Output])
    keys = {key for schema in schemas.values() for key in schema["properties"]}
    headings = set(re.findall(r"^#+ (\w+)$", PAGE, re.MULTILINE))
    cells = {key for row in re.findall(r"^\| ([^|]*) \|", PAGE, re.MULTILINE) for key in re.findall(r"\w+", row)}
    assert keys - headings - cells - {"kind"} == set()
    assert "`kind` says how it is read" in PAGE
