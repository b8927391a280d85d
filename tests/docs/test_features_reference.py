"""docs/reference/features-yaml.md: its examples load, and every key of a spec stands in its table with its types."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from markdown_pages import REFERENCE, Cell, Page
from msgspec import Struct
from type_keys import inner, leaves

from gateway.spec import FeatureSpec, Output, parse_spec
from gateway.spec.features import Feature

PAGE = Page(REFERENCE / "features-yaml.md")
EXAMPLES = [text for language, text in PAGE.blocks if language == "yaml"]
KEYS = leaves(FeatureSpec)
PREFIXES = {
    "features": "features[].",
    "Absent and null": "features[].",
    "Numbers": "features[].",
    "float, int, vector, ratio and difference": "features[].",
    "currency": "features[].currency.",
    "Words": "features[].",
    "category": "features[].",
    "cross": "features[].",
    "timestamp": "features[].",
    "list": "features[].",
    "image": "features[].image.",
    "code": "features[].",
    "input": "input.",
    "inputs": "",
    "output": "output.",
    "lookup": "",
    "ignore and extra": "",
    "pass_through": "",
    "statistics": "",
}
"""Where the keys of each table stand in the file."""
NUMBERS = ("float", "int", "vector", "ratio", "difference", "timestamp")
TYPES: dict[str, tuple[str, ...]] = {
    "features": (),
    "Absent and null": (),
    "Numbers": NUMBERS,
    "float, int, vector, ratio and difference": NUMBERS,
    "currency": ("float",),
    "Words": ("category", "cross", "string"),
    "category": ("category",),
    "cross": ("cross",),
    "timestamp": ("timestamp",),
    "list": ("list",),
    "image": ("image",),
    "code": ("code",),
}
"""Which types of features a table is about; nothing for all."""
NOT_OF = {
    "image": ("default", "missing.value", "missing.flag"),
    "cross": ("default",),
    "code": ("default", "missing.value", "missing.flag"),
}
"""Keys that the tables for all types except of one, in words."""


def keys_of(section: str) -> dict[str, dict[str, Cell]]:
    """The keys of one table by their path in the file."""
    return {f"{PREFIXES[section]}{key}": row for key, row in PAGE.table(section, "Key").keys().items()}


def tag(struct: type[Struct]) -> str:
    """The word that says which of several structs is meant."""
    return str(struct.__struct_config__.tag)


TABLES = {key: row for section in PREFIXES for key, row in keys_of(section).items()}


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_load(example: str) -> None:
    parse_spec(example)


def test_examples_show_every_type_and_kind() -> None:
    specs = [parse_spec(example) for example in EXAMPLES]
    types = {tag(type(feature)) for spec in specs for feature in spec.features}
    kinds = {tag(type(spec.output)) for spec in specs}
    assert types == {tag(feature) for feature in get_args(Feature)}
    assert kinds == {tag(output) for output in get_args(Output)}


def test_every_key_has_its_row_and_nothing_else_has() -> None:
    assert sorted(KEYS.keys() - TABLES.keys()) == []
    assert sorted(TABLES.keys() - KEYS.keys() - inner(KEYS)) == []


def test_every_choice_of_words_is_named() -> None:
    for key, known in KEYS.items():
        assert known.words <= set(TABLES[key]["Meaning"].codes), f"{key}: {known.words}"


@pytest.mark.parametrize("feature", get_args(Feature), ids=tag)
def test_a_type_of_features_has_the_keys_that_the_page_gives_it(feature: type[Struct]) -> None:
    told = {
        key
        for section, types in TYPES.items()
        if not types or tag(feature) in types
        for key, row in keys_of(section).items()
        if not (only := re.match(r"((?:`\w+`(?: and )?)+) only", row["Meaning"].text))
        or tag(feature) in re.findall(r"\w+(?=`)", only[1])
    }
    found = {f"features[].{key}" for key in leaves(feature)}
    told -= {f"features[].{key}" for key in NOT_OF.get(tag(feature), ())}
    assert told - inner(found) == found


@pytest.mark.parametrize("output", get_args(Output), ids=tag)
def test_a_kind_of_output_has_the_keys_that_the_page_gives_it(output: type[Struct]) -> None:
    kinds = {key: row["Kinds"].text.split(", ") for key, row in keys_of("output").items()}
    told = {key for key, named in kinds.items() if named == ["all"] or tag(output) in named}
    assert told == {f"output.{key}" for key in leaves(output)}
