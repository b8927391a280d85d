"""The first deployer.yaml of a project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployer.errors import UsageError
from deployer.files import replace_file
from deployer.release import spec
from deployer.release.render.text import fill


@dataclass(frozen=True, kw_only=True)
class InitRequest:
    """The content of the file; `force` replaces an existing file."""

    file: Path
    release: str
    store: str
    models: tuple[str, ...]
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class InitResult:
    """The file and its text."""

    path: str
    text: str
    written: bool


def init(request: InitRequest, *, dry_run: bool = False) -> InitResult:
    """Write a commented, valid deployer.yaml.

    Errors: SpecError for an invalid name, UsageError when the file exists or cannot be written.
    """
    text = fill("deployer.yaml.j2", release=request.release, store=request.store, models=request.models)
    spec.parse(text, request.file.parent, name=str(request.file))
    if not dry_run:
        if request.file.exists() and not request.force:
            raise UsageError(
                f"{request.file} already exists", hint="replace it with --force, or choose another file with -f"
            )
        try:
            replace_file(request.file, text.encode())
        except OSError as error:
            raise UsageError(f"{request.file} cannot be written", hint="choose another file with -f") from error
    return InitResult(path=str(request.file), text=text, written=not dry_run)
