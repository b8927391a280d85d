"""The README of the project, followed by somebody new: each command of its local part in order, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_folder import copied
from paths import ROOT

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the README asks with curl, which is not on PATH"),
]


class Reader:
    """Somebody who runs the blocks of the README, one after the other, in one shell."""

    def __init__(self, place: Path) -> None:
        example = copied("keras-classifier", place)  # brings `deployer`, `python` and a free port
        described = (example.directory / "deployer.yaml").read_text("utf-8")
        self._port = re.findall(r"port: (\d+)", described)[0]
        self._environment = example.environment
        self._place = place
        self._folder = place
        text = (ROOT / "README.md").read_text("utf-8")
        local = text[text.index("## Step by step") : text.index("On a cluster")]
        self.blocks = re.findall(r"^```sh\n(.*?)^```", local, re.M | re.S)

    def run(self, script: str) -> str:
        """What a block prints to stdout. Every command must succeed; `cd` lasts."""
        script = script.replace("localhost:8080", f"localhost:{self._port}")
        script = script.replace("local up", f"local up --port {self._port}")  # 8080 may be somebody else's
        where = self._place / "cwd"
        ran = subprocess.run(
            ["sh", "-e", "-c", f'{script}\npwd > "{where}"'],
            cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, f"{script}\n{ran.stdout}\n{ran.stderr}"
        self._folder = Path(where.read_text("utf-8").strip())
        return ran.stdout

    def stop(self) -> None:
        if (self._folder / ".deployer").exists():
            subprocess.run(["deployer", "local", "down"], cwd=self._folder, env=self._environment, check=False)

    @property
    def folder(self) -> Path:
        return self._folder


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.stop()


def test_every_command_works_in_its_order(reader: Reader) -> None:
    serve, ask = reader.blocks

    shown = reader.run(serve)
    accuracy = re.search(r"^accuracy (0\.\d+|1\.0+)", shown, re.M)
    assert accuracy
    assert float(accuracy[1]) >= 0.95
    assert "nothing is wrong" in shown
    assert (reader.folder / "rendered").is_dir()
    assert os.listdir(reader.folder / "models" / "loan") == ["1"]

    answered = reader.run(ask)
    answer, _ = json.JSONDecoder().raw_decode(answered)
    assert answer["predictions"][0]["top_prediction"] == "approve"
    assert [*reader.folder.rglob("report.html")]
    assert answered.endswith("stopped gateway-0, replica-0, replica-1\n")
