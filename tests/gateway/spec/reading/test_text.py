"""YAML as it is written and read: a word stays a word, a number a number, for this reader and for others."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.errors import SpecError
from deployer.release.spec import parse as parse_release
from gateway.config_file import ConfigFile
from gateway.settings import SettingsError, parse_settings
from gateway.spec import SpecProblem
from gateway.spec.document import parse_spec
from gateway.spec.reading.text import Dumper, load

LOOKALIKES = st.text(alphabet="0123456789.-+_:eExob=<>~TZ", min_size=1, max_size=10)


BREAKS = st.text(alphabet="\x85\u2028\u2029\ufeff a:'\"\n", min_size=1, max_size=6)


@given(
    words=st.lists(LOOKALIKES | BREAKS | st.text(max_size=8), max_size=8), numbers=st.lists(st.floats(allow_nan=False))
)
@settings(max_examples=300)
def test_what_is_written_is_read_as_it_was_by_this_reader_and_by_others(words: list[str], numbers: list[float]) -> None:
    document = {"words": words, "numbers": numbers, **dict.fromkeys(words, 1)}
    text = yaml.dump(document, Dumper=Dumper, allow_unicode=True)
    assert load(text) == document
    assert yaml.safe_load(text) == document


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *(("1e-07", 1e-07), ("1.5E+3", 1500.0), ("-3", -3), ("0x1f", 31), (".5", 0.5), ("1.", 1.0), ("-.inf", -1e999)),
        *(("007", "007"), ("1_000", "1_000"), ("12:30", "12:30"), ("2001-12-31", "2001-12-31"), ("0x_", "0x_")),
        *(("=", "="), ("<<", "<<"), ("yes", True), ("no", False), ("~", None), ("", None)),
    ],
)
def test_what_a_plain_word_is(text: str, meant: object) -> None:
    assert load(text) == meant
    assert type(load(text)) is type(meant)


def test_a_mapping_may_be_merged_into_another() -> None:
    assert load("a: &a {x: 1}\nb: {<<: *a, y: 2}")["b"] == {"x": 1, "y": 2}


_LAUGHS = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))])
_MERGED = "\n".join(
    ["m0: &m0 {a: 1}", *(f"m{n}: &m{n}\n  <<: [{', '.join([f'*m{n - 1}'] * 8)}]" for n in range(1, 12))]
)
BOMBS = {
    "flow": ("[" * 100_000, "nested deeper than 100"),
    "flow of mappings": ("{a: " * 100_000, "nested deeper than 100"),
    "block": ("- " * 100_000, "nested deeper than 100"),
    "keys": ("? " * 100_000, "nested deeper than 100"),
    "a later document": ("a: 1\n---\n" + "[" * 100_000, "nested deeper than 100"),
    "aliases of aliases": (_LAUGHS, "aliases stand for more than"),
    "merged aliases": (_MERGED, "aliases stand for more than"),
    "an alias of what it stands in": ("a: &a [*a]", r"alias \*a stands inside what it names"),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("read", [load, parse_settings, parse_spec, lambda text: parse_release(text, Path())])
def test_nesting_and_aliases_are_bounded_before_anything_is_built(bomb: str, read: Callable[[str], object]) -> None:
    text, reason = BOMBS[bomb]
    with pytest.raises((yaml.YAMLError, SettingsError, SpecProblem, SpecError)) as refused:
        read(text)
    shown = f"{refused.value} {getattr(refused.value, 'cause', '')}"
    assert re.search(reason, shown)
    assert "line" in shown


def test_aliases_and_nesting_of_people_are_read() -> None:
    deep = "[" * 90 + "1" + "]" * 90
    text = f"words: &words [{', '.join(['w'] * 1000)}]\nonce: *words\nagain: [*words, *words]\ndeep: {deep}"
    assert load(text)["again"] == [["w"] * 1000] * 2


def test_a_bomb_is_refused_once_and_is_no_config(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    file = ConfigFile(path)
    path.write_text("[" * 100_000)
    with pytest.raises(SettingsError, match="nested deeper than 100"):
        file.load()
    assert file.load() is None  # told once; the gateway goes on with what it has
