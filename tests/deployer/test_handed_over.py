"""Every file that a user hands over: bytes that are no text, a byte order mark, nothing at all, a NaN.

The error names the file and the line, and is never reported as a bug.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from deployer.cli.__main__ import main

WORDS = """\
features: [{name: x, type: category, vocabulary_file: words.txt, encoding: index}]
input: {name: x, dtype: float32, shape: [-1, 1]}
output: {name: y, kind: raw}
"""
MONEY = """\
features: [{name: x, type: float, currency: {field: y, to: USD}}]
input: {name: x, dtype: float32, shape: [-1, 1]}
output: {name: y, kind: raw}
"""
NUMBER = """\
features: [{name: x, type: float}]
input: {name: x, dtype: float32, shape: [-1, 1]}
output: {name: y, kind: raw}
"""
FUNCTION = """\
import tensorflow as tf
def f():
    module = tf.Module()
    module.f = tf.function(lambda x: {'y': x}, input_signature=[tf.TensorSpec([None, 1], name='x')])
    return module
"""
GATEWAY = "version: v1\nmodels: {}\nbackends: {static: ['127.0.0.1:1']}\n"

TEXTS: dict[str, tuple[str, str]] = {
    "deployer.yaml": ("", "render -f deployer.yaml"),
    "features.yaml": ("", "features check features.yaml"),
    "words.txt": (WORDS, "features check spec.yaml"),
    "rates.json": (MONEY, "features check spec.yaml --rates rates.json"),
    "metrics.json": ("", "export none.keras --store s --model m --metrics-file metrics.json"),
    "data.jsonl": (NUMBER, "features check spec.yaml --data data.jsonl"),
    "data.csv": (NUMBER, "features check spec.yaml --data data.csv"),
    "samples.jsonl": ("", "export m:f --store s --model m --samples samples.jsonl"),
    "samples.csv": ("", "export m:f --store s --model m --samples samples.csv"),
}
"""A file of each kind, the spec.yaml beside it, and a command line that reads it."""

OF_THE_GATEWAY = {
    "gateway.yaml": "",
    "rates.json": "rates: {file: rates.json}\n",
    "keys.yaml": "auth: {keys_file: keys.yaml}\n",
    "jwks.json": "auth: {jwt: {jwks_file: jwks.json, issuer: i, audience: a}}\n",
}
"""A file of each kind to what gateway.yaml has beside models."""

WRONG = {
    "latin1": (b'{"a": "x",\n"b": "caf\xe9"}\n', 2),
    "utf16": ('{"a": 1}\n'.encode("utf-16"), 1),
    "empty": (b"", 1),
}
"""What a file has, and the line that the error names."""

NAN = {
    "rates.json": b'{"base": "USD",\n "rates": {"EUR": NaN}}',
    "metrics.json": b'{"a": 1,\n "accuracy": NaN}',
    "data.jsonl": b'{"x": 1}\n{"x": NaN}\n',
    "samples.jsonl": b'{"x": [1]}\n{"x": [NaN]}\n',
}
"""JSON that Python takes and nobody else does; in line 2."""

BOM = b"\xef\xbb\xbf"
GOOD = {
    "features.yaml": NUMBER.encode(),
    "words.txt": b"a\nb\n",
    "rates.json": b'{"base": "USD", "rates": {"EUR": 0.9}}',
    "data.jsonl": b'{"x": 1}\n',
    "data.csv": b"x\n1\n",
}

BINARY = {
    "expected.npz": (NUMBER, "features check spec.yaml --data rows.jsonl --expected expected.npz"),
    "samples.npz": ("", "export m:f --store s --model m --samples samples.npz"),
    "rows.parquet": (NUMBER, "features check spec.yaml --data rows.parquet"),
    "model.keras": ("", "export model.keras --store s --model m"),
    "model.h5": ("", "export model.h5 --store s --model m"),
    "model.json": ("", "export model.json --store s --model m"),
    "model.txt": ("", "export model.txt --store s --model m"),
    "model.skops": ("", "export model.skops --store s --model m"),
    "model.joblib": ("", "export model.joblib --trust --store s --model m"),
}
"""Files of other programs: they have no lines."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "m.py").write_text(FUNCTION)
    (tmp_path / "rows.jsonl").write_text('{"x": 1}\n')
    return tmp_path


def said_of(
    name: str, content: bytes, kinds: dict[str, tuple[str, str]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """The exit code and everything that the deployer says of a file that it is given."""
    spec, command = kinds[name]
    (folder / "spec.yaml").write_text(spec)
    (folder / name).write_bytes(content)
    code = main(command.split())
    found = capsys.readouterr()
    return code, found.out + found.err


def names(said: str, name: str, line: int) -> bool:
    """Whether an error names file and line: `FILE:2: …`, or `FILE cannot be used: line 2 …`."""
    return re.search(rf"{name}(:{line}: | cannot be used: line {line}\b)", said) is not None


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_cannot_be_read_names_file_and_line(
    name: str, wrong: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, line = WRONG[wrong]
    code, said = said_of(name, content, TEXTS, folder, capsys)
    assert code not in (0, 1), said
    assert names(said, name, line) or (not content and re.search(rf"{name} .*is empty", said)), said
    assert not (folder / "s").exists(), "a failed export leaves nothing behind"


@pytest.mark.parametrize("name", NAN)
def test_a_nan_names_file_and_line(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = said_of(name, NAN[name], TEXTS, folder, capsys)
    assert code not in (0, 1), said
    assert names(said, name, 2), said
    assert "NaN" in said


@pytest.mark.parametrize("name", GOOD)
def test_a_byte_order_mark_is_not_part_of_the_text(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = said_of(name, BOM + GOOD[name], TEXTS, folder, capsys)
    assert code == 0, said


@pytest.mark.parametrize("content", [b"", b"\xff\xfeno such format", b"{}\n"], ids=["empty", "bytes", "json"])
@pytest.mark.parametrize("name", BINARY)
def test_a_file_that_its_library_cannot_read_is_named(
    name: str, content: bytes, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = said_of(name, content, BINARY, folder, capsys)
    assert code not in (0, 1), said
    assert name in said
    assert "Traceback" not in said
    assert not (folder / "s").exists(), "a failed export leaves nothing behind"


def start_gateway(folder: Path, name: str, content: bytes) -> str:
    """What the gateway says when it is started with a file that is wrong."""
    (folder / "gateway.yaml").write_text(GATEWAY + OF_THE_GATEWAY[name])
    (folder / name).write_bytes(content)
    ran = subprocess.run(
        [sys.executable, "-m", "gateway", "--config", "gateway.yaml", "--port", "0", "--admin-port", "0"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 3, ran.stderr
    return ran.stderr


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", OF_THE_GATEWAY)
def test_the_gateway_names_file_and_line(name: str, wrong: str, folder: Path) -> None:
    content, line = WRONG[wrong]
    said = start_gateway(folder, name, content)
    assert f"{name}:{line}: " in said
    assert "Traceback" not in said


def test_rates_that_are_not_json_name_the_line_of_the_gateway_too(folder: Path) -> None:
    assert "rates.json:2: NaN is not a number in JSON" in start_gateway(folder, "rates.json", NAN["rates.json"])
    cut = json.dumps({"base": "USD", "rates": {"EUR": 0.9}}, indent=0).encode()[:-3]
    assert "rates.json:4: " in start_gateway(folder, "rates.json", cut)
