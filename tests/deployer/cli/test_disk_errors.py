"""A disk that refuses: the file and the remedy are named, it is not called a bug, and nothing half-written stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployer.errors import ExportError, UsageError, disk_errors, of_disk

PROJECT = "release: demo\nstore: pvc://shop/models\nmodels: [digits]\n"


def without_room(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`deployer` where no file may grow beyond nothing, which is what a full disk looks like from inside."""
    argv = ["sh", "-c", 'ulimit -f 0 && exec "$@"', "sh", sys.executable, "-m", "deployer.cli", *arguments]
    return subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=120, check=False)


def test_init_leaves_no_empty_file_that_the_next_init_would_keep(tmp_path: Path) -> None:
    ran = without_room(tmp_path, "init")
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: deployer.yaml cannot be written\ncause: file too large")
    assert list(tmp_path.iterdir()) == []


def test_render_keeps_the_files_of_before(tmp_path: Path) -> None:
    (tmp_path / "deployer.yaml").write_text(PROJECT)
    (tmp_path / "rendered").mkdir()
    for name in ("models.config", "gateway.yaml", "gateway-values.yaml"):
        (tmp_path / "rendered" / name).write_text("of before")
    ran = without_room(tmp_path, "render", "--version", "digits=1")
    assert ran.returncode == 2
    assert "cannot be written" in ran.stderr
    assert {path.read_text() for path in (tmp_path / "rendered").iterdir()} == {"of before"}


def test_a_place_where_no_release_can_keep_its_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "store/digits/1").mkdir(parents=True)
    (tmp_path / "deployer.yaml").write_text("release: demo\nstore: store\nmodels: [digits]\n")
    ran = without_room(tmp_path, "local", "up")
    assert ran.returncode == 2
    assert "cannot be written" in ran.stderr
    assert "bug" not in ran.stderr


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.ENOSPC, "free space on the disk"), (errno.EROFS, "read-only"), (errno.EACCES, "may not")],
)
def test_what_a_disk_refuses_has_a_cause_without_numbers_and_a_remedy(code: int, remedy: str) -> None:
    with pytest.raises(ExportError) as raised, disk_errors(ExportError):
        raise OSError(code, os.strerror(code), "/store/loan")
    assert raised.value.message == "/store/loan cannot be written"
    assert raised.value.cause.lower() == os.strerror(code).lower()
    assert remedy in raised.value.hint


def test_errors_of_another_nature_stay_what_they_are() -> None:
    assert of_disk(ConnectionResetError(errno.ECONNRESET, "reset")) is None


def test_a_cause_that_repeats_the_message_is_left_out() -> None:
    def said() -> UsageError:
        try:
            raise ValueError("prune keeps at least 1 version, not 0")
        except ValueError as error:
            failure = UsageError(str(error))
            failure.__cause__ = error
            return failure

    assert said().cause == ""
