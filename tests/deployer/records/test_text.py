"""Files that a user hands over: a wrong byte, a byte order mark, no text at all, a NaN. File and line are named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deployer.errors import SpecError
from deployer.records.text import decoded, text_of

SPEC = (
    "features: [{name: x, type: float}]\n"
    "input: {name: x, dtype: float32, shape: [-1, 1]}\n"
    "output: {name: y, kind: raw}\n"
)

HANDED_OVER = {
    "deployer.yaml": "render -f {file}",
    "features.yaml": "features check {file}",
    "metrics.json": "export none.keras --store s --model m --metrics-file {file}",
}
"""A file of each kind to a command line that reads it."""

WRONG = {
    "latin1": (b"a: 1\nb: caf\xe9\n", ":2: not UTF-8: byte 0xe9"),
    "utf16": ("a: 1\n".encode("utf-16"), ":1: not UTF-8 but UTF-16"),
    "empty": (b"", ":1: the file is empty"),
    "blank": (b"\n \n", ":1: the file is empty"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", HANDED_OVER)
def test_what_cannot_be_read_names_file_and_line(tmp_path: Path, name: str, wrong: str) -> None:
    content, expected = WRONG[wrong]
    (tmp_path / name).write_bytes(content)
    command = HANDED_OVER[name].format(file=name).split()
    ran = subprocess.run(
        [sys.executable, "-m", "deployer.cli", *command],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode in (2, 3), ran.stderr
    assert ran.stderr.startswith(f"error: {name}{expected}")
    assert "hint:" in ran.stderr


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "features.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SPEC.encode())
    assert text_of(path) == SPEC


def test_the_line_is_counted_from_one() -> None:
    with pytest.raises(SpecError, match=r"^x:1: not UTF-8: byte 0xff"):
        decoded(b"\xffabc", Path("x"))
