"""Vocabularies in files beside the spec: as if the words stood in it, shared, and refused with a sentence."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from gateway.active import activate
from gateway.api.schema import record_schema
from gateway.preprocess import Compiled, compile_spec
from gateway.preprocess.problems import RecordProblems
from gateway.preprocess.vocabularies import read_words
from gateway.settings import SettingsError
from gateway.spec import SpecProblem, parse_spec

WORDS = ["oslo", "rome", "new york", "", "caf\u00e9"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cities.txt").write_text("".join(f"{word}\n" for word in WORDS), "utf-8")
    return tmp_path


def compiled(
    rules: str, files: Path | None, *, kind: str = "category", columns: int = 1, dtype: str = "int64"
) -> Compiled:
    spec = parse_spec(
        f"features: [{{name: c, type: {kind}, {rules}}}]\n"
        f"input: {{name: x, dtype: {dtype}, shape: [-1, {columns}]}}\noutput: {{name: y, kind: raw}}\n"
    )
    record_schema(spec)
    return compile_spec(spec, files=files)


RULES = "encoding: index, text: {case: lower, unicode: NFC}"


@pytest.mark.parametrize("more", ["", ", unknown: rome", ", missing: {flag: true}", ", missing: {value: oslo}"])
def test_words_of_a_file_are_as_words_of_the_spec(folder: Path, more: str) -> None:
    columns = 1 + ("flag" in more)
    inline = compiled(f"vocabulary: {WORDS!r}, {RULES}{more}", None, columns=columns)
    filed = compiled(f"vocabulary_file: cities.txt, {RULES}{more}", folder, columns=columns)
    cases: list[list[dict[str, object]]] = [
        [{"c": "oslo"}, {"c": "ROME"}, {"c": "cafe\u0301"}, {"c": ""}],
        [{"c": "paris"}],
        [{"c": 5}],
        [{"c": None}],
        [{"c": ["oslo"]}],
        [{}],
    ]
    for records in cases:
        made = []
        for subject in (inline, filed, filed):
            try:
                made.append(subject.vectorize(records).tolist())
            except RecordProblems as error:
                made.append([(one.record, one.problem.split(";")[0]) for one in error.problems])
        assert made[0] == made[1] == made[2]


def test_lists_of_words_of_a_file(folder: Path) -> None:
    rules = "length: 3, pad: -1, items: {type: category, vocabulary_file: cities.txt, encoding: index}"
    subject = compiled(rules, folder, kind="list", columns=3)
    assert subject.vectorize([{"c": ["rome", "oslo"]}, {"c": []}]).tolist() == [[1, 0, -1], [-1, -1, -1]]
    with pytest.raises(RecordProblems, match=r"element 0: unknown category 'x'; known: the 5 words of cities\.txt"):
        subject.vectorize([{"c": ["x"]}])


def test_equal_files_are_in_memory_once_and_no_longer_than_they_are_used(folder: Path) -> None:
    (folder / "copy.txt").write_text("".join(f"{word}\r\n" for word in WORDS), "utf-8")
    (folder / "same.txt").write_bytes((folder / "cities.txt").read_bytes())
    words = read_words(folder / "cities.txt")
    assert read_words(folder / "same.txt") is words
    assert dict(read_words(folder / "copy.txt")) == dict(words) == {word: at for at, word in enumerate(WORDS)}
    assert len(words) == 5
    number = id(words)
    del words
    gc.collect()
    assert [one for one in gc.get_objects() if id(one) == number and type(one).__name__ == "FileWords"] == []


@pytest.mark.parametrize(
    ("content", "rules", "told"),
    [
        (None, "", "cannot be read: No such file or directory"),
        (b"a\nb\na\n", "", "line 3: 'a' is there twice"),
        (b"", "", "w.txt:1: the file is empty"),
        (b"a\n\xff\n", "", "w.txt:2: not UTF-8: byte 0xff"),
        (b"a\n", ", unknown: other", "unknown 'other' is not in"),
        (b"a\n", ", default: b", "default 'b' is not in w.txt"),
        (b"".join(b"%d\n" % at for at in range(300)), "", "w.txt has 300 words, uint8 holds 255"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, content: bytes | None, rules: str, told: str) -> None:
    if content is not None:
        (tmp_path / "w.txt").write_bytes(content)
    with pytest.raises(SpecProblem, match="features: c: ") as raised:
        compiled(f"vocabulary_file: w.txt, encoding: index{rules}", tmp_path, dtype="uint8")
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("vocabulary_file: w.txt", "vocabulary_file needs encoding index"),
        ("vocabulary_file: w.txt, vocabulary: [a], encoding: index", "exclude each other"),
        ("vocabulary_file: ../w.txt, encoding: index", "vocabulary_file: Expected str matching regex"),
        ("vocabulary_file: w.txt, encoding: hash_bucket, buckets: 9", "takes any word"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(rules: str, told: str) -> None:
    with pytest.raises(SpecProblem, match=told):
        compiled(rules, None)


CONFIG = """
version: v1
models:
  trips:
    labels: {{stable: 1}}
    {files}
    specs:
      1:
        features: [{{name: c, type: category, encoding: index, vocabulary_file: cities.txt}}]
        input: {{name: x, dtype: int64, shape: [-1, 1]}}
        output: {{name: y, kind: raw}}
backends: {{static: ["127.0.0.1:1"]}}
"""


@pytest.mark.parametrize("name", ["1", "0001"])
def test_a_gateway_finds_the_file_in_the_version(folder: Path, name: str) -> None:
    assets = folder / "store" / "trips" / name / "assets.extra"
    assets.mkdir(parents=True)
    (folder / "cities.txt").rename(assets / "cities.txt")
    active = activate(CONFIG.format(files=f"files: {folder}/store/trips"), None)
    assert active.models["trips"].versions[1].compiled.vectorize([{"c": "rome"}]).tolist() == [[1]]


def test_a_gateway_without_the_folder_says_what_to_set() -> None:
    with pytest.raises(SettingsError, match=r"models\.trips\.specs\.1\.features: c: .*set models\.NAME\.files"):
        activate(CONFIG.format(files=""), None)
