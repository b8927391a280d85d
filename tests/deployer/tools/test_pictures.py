"""What keeps a picture from being written is said before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.cli.__main__ import main
from deployer.errors import UsageError
from deployer.tools import pictures


@pytest.mark.parametrize("name", ["trade.gif", "trade", "trade.PNG.txt"])
def test_a_suffix_that_is_not_written_is_refused_first(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # where there are neither a store nor records, which would be the next error
    command = ["models", "compare", "m", "1", "2", "--store", "s", "--records", "r.jsonl", "--picture", name]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert f"{name} is no picture" in said
    assert ".png, .svg, .pdf" in said


@pytest.mark.parametrize("suffix", pictures.SUFFIXES)
def test_a_figure_is_written_into_a_folder_that_it_makes(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "a/b" / f"x{suffix}"
    pictures.save(pictures.blank(path, 2, 1), path)
    assert path.stat().st_size > 100
    with pytest.raises(UsageError, match="no picture"):
        pictures.blank(tmp_path / "x.txt", 2, 1)
