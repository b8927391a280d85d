"""YAML as it is written and read: a word stays a word, a number a number, for this reader and for others."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.spec.text import Dumper, load

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
