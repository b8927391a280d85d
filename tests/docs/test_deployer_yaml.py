"""docs/reference/deployer-yaml.md has every key of deployer.yaml with its default, and so has what `init` writes."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from markdown_pages import REFERENCE, Page
from type_keys import inner, leaves

from deployer.release import spec
from deployer.release.render.text import fill

KEYS = leaves(spec._Document)
PAGE = Page(REFERENCE / "deployer-yaml.md")
TABLES = PAGE.keys("key")


def test_every_key_has_its_row_and_nothing_else_has() -> None:
    assert sorted(KEYS.keys() - TABLES.keys()) == []
    assert sorted(TABLES.keys() - KEYS.keys() - inner(KEYS)) == []


def test_every_default_is_that_of_the_code() -> None:
    wrong = {
        key: row["default"].text
        for key, row in TABLES.items()
        if key in KEYS and not KEYS[key].fits(row["default"].text)
    }
    assert wrong == {}


def test_every_choice_of_words_is_named() -> None:
    for key, row in TABLES.items():
        named = {*row["default"].codes, *row["meaning"].codes}
        assert key not in KEYS or KEYS[key].words <= named, f"{key}: {KEYS[key].words - named} is missing"


def test_the_file_that_init_writes_shows_every_key() -> None:
    text = fill("deployer.yaml.j2", release="demo", store="store", models=("digits",))
    shown = yaml.safe_load(_uncommented(text))
    paths = {path.replace("gateway.stores.default", "gateway.stores.<>") for path in _paths(shown)}
    assert sorted(KEYS.keys() - paths - ALTERNATIVES) == []
    spec.parse(yaml.safe_dump(shown), Path("/"))


ALTERNATIVES = {
    "models[].sticky.header",
    "gateway.rates.table",
    "gateway.stores.<>.sqlite",
    "gateway.auth.jwt.jwks_file",
    "batching.max_execution_batch_size",
} | {f"gateway.image.{key}" for key in ("registry", "tag", "digest", "pull_policy")}
"""Keys that exclude a neighbour that is shown, or say again what `serving` has shown."""


def _uncommented(text: str) -> str:
    """The file with everything switched on: a comment that reads as a key or an item becomes one."""
    return "\n".join(re.sub(r"^( *)# ( *(?:- |[a-z_0-9]+:))", r"\1\2", line) for line in text.splitlines())


def _paths(value: object, path: str = "") -> list[str]:
    """Every path of a document, also those that are not ends."""
    if isinstance(value, list):
        return [found for item in value for found in _paths(item, f"{path}[]")] + [path]
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in _paths(item, f"{path}.{key}".lstrip("."))] + [path]
    return [path]
