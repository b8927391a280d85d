"""`--junit FILE`: verdicts for the test report of a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployer.cli.options.group import OptionGroup
from deployer.errors import UsageError, disk_errors

if TYPE_CHECKING:
    from deployer.domain.junit import Suite


@dataclass(frozen=True, kw_only=True)
class JunitOptions(OptionGroup):
    """The file of the report."""

    junit: Annotated[
        Path | None,
        typer.Option(
            "--junit", metavar="FILE", help="Also write the verdicts as JUnit XML to this file.", show_default=False
        ),
    ] = None

    def check(self) -> None:
        """Before anything else is done. Errors: UsageError for a path where no file can be."""
        if self.junit is not None and self.junit.is_dir():
            raise UsageError(f"--junit {self.junit} is a directory", hint="name a file in it, as verdicts.xml")

    def write(self, suite: Callable[[], Suite]) -> None:
        """Write the report if it was asked for. Errors: UsageError when the file cannot be written."""
        if self.junit is None:
            return
        from deployer.domain import junit
        from deployer.files import replace_file

        with disk_errors(UsageError):
            replace_file(self.junit, junit.xml(suite()))
