"""Which release a verb means: options and their resolution, shared by every verb that talks to a target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployer.targets.local import LocalTarget
from deployer.usecases.local import state_directory

StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        help="State of the local release; by default .deployer/RELEASE beside the file.",
        show_default=False,
    ),
]


def local_target(file: Path, state_dir: Path | None) -> LocalTarget:
    """The local release that `file` describes. Errors: SpecError when the file is needed and cannot be read."""
    return LocalTarget(state_dir or state_directory(file))
