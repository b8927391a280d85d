"""Where the state that a rollout leaves is written for Git: `--write-values DIR`, `--commit-to DIR`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.console import console
from deployer.cli.options.group import OptionGroup
from deployer.errors import UsageError
from deployer.release.where import Kind, Where, open_cluster


@dataclass(frozen=True, kw_only=True)
class RecordOptions(OptionGroup):
    """The folder with the values files of both charts, and whether they are committed."""

    write_values: Annotated[
        Path | None,
        typer.Option(
            "--write-values",
            metavar="DIR",
            help="Folder into which the values files of both charts are written when it has ended (cluster only).",
            show_default=False,
        ),
    ] = None
    commit_to: Annotated[
        Path | None,
        typer.Option(
            "--commit-to",
            metavar="DIR",
            help="The same, and commit them to the Git repository of the folder; nothing is pushed.",
            show_default=False,
        ),
    ] = None

    def check(self, where: Where) -> None:
        """Before anything changes. Errors: UsageError for a local release, and for a folder without a repository."""
        if self.write_values is None and self.commit_to is None:
            return
        if where.kind is not Kind.CLUSTER:
            raise UsageError(
                "--write-values and --commit-to need a cluster",
                hint="add --target cluster; a local release has no chart",
            )
        if self.write_values is not None and self.commit_to is not None:
            raise UsageError("--write-values and --commit-to contradict each other", hint="--commit-to writes them too")
        if self.commit_to is not None:
            from deployer.release.git.commit import require_repository

            require_repository(self.commit_to)

    def record(self, where: Where, message: str) -> None:
        """Write the state that the cluster has now, and commit it. Errors: UsageError, TargetError, ToolError."""
        directory = self.commit_to or self.write_values
        if directory is None:
            return
        from deployer.release.git import commit, values_files

        release, target = open_cluster(where)
        paths = values_files.write_values(values_files.live_values(release, target), directory)
        console.progress(f"wrote {' and '.join(map(str, paths))}")
        if self.commit_to is not None:
            made = commit.commit(directory, paths, message)
            console.progress(f"committed as {made[:12]}" if made else "the repository already has this state")
