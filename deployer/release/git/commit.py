"""A commit in the repository that holds the values files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deployer.errors import ToolError, UsageError
from deployer.tools import process

GIT_TIMEOUT = 60.0
AUTHOR = ("-c", "user.name=deployer", "-c", "user.email=deployer@localhost")
"""For a repository without an author, as in a CI job."""


def require_repository(directory: Path) -> None:
    """Errors: UsageError when the directory is in no Git repository."""
    found = _git(_existing(directory), "rev-parse", "--is-inside-work-tree", check=False)
    if found.stdout.strip() != "true":
        raise UsageError(
            f"{directory} is not in a Git repository", hint="clone it first, or use --write-values without a commit"
        )


def commit(directory: Path, paths: Sequence[Path], message: str) -> str:
    """Commit these files and nothing else that is staged; returns the commit, empty when nothing has changed.

    Nothing is pushed. Errors: ToolError with what git said.
    """
    names = [str(path.resolve()) for path in paths]
    _git(directory, "add", "--intent-to-add", "--", *names)
    if not _git(directory, "diff", "HEAD", "--name-only", "--", *names, check=False).stdout.strip() and _has_commit(
        directory
    ):
        return ""
    author = () if _git(directory, "config", "user.email", check=False).stdout.strip() else AUTHOR
    _git(directory, *author, "commit", "--quiet", "--message", message, "--only", "--", *names)
    return _git(directory, "rev-parse", "HEAD").stdout.strip()


def _has_commit(directory: Path) -> bool:
    return _git(directory, "rev-parse", "--verify", "--quiet", "HEAD", check=False).returncode == 0


def _existing(directory: Path) -> Path:
    for path in (directory, *directory.absolute().parents):
        if path.is_dir():
            return path
    return directory


def _git(directory: Path, *argv: str, check: bool = True) -> process.Completed:
    try:
        return process.run(["git", *argv], cwd=directory, timeout=GIT_TIMEOUT, check=check)
    except ToolError as error:
        error.hint = error.hint or f"look at the repository with `git -C {directory} status`"
        raise
