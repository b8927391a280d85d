"""Which release a verb means: the options of every verb that talks to a target, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployer.cli import candidates
from deployer.cli.options.group import OptionGroup
from deployer.cli.verb import File, Kubeconfig
from deployer.release.where import Kind, Where, local_target

if TYPE_CHECKING:
    from deployer.targets.local.target import LocalTarget

StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        help="Directory with the state of the local release; by default .deployer/RELEASE next to the file.",
        show_default=False,
    ),
]
Context = Annotated[str, typer.Option("--context", help="Kube-context; by default that of the file, else the current.")]
RoutedLabel = Annotated[
    str,
    typer.Option(
        "--label", help="Version label; by default the gateway's routing decides.", autocompletion=candidates.labels
    ),
]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Namespace; by default that of the file.")]


@dataclass(frozen=True, kw_only=True)
class TargetOptions(Where, OptionGroup):
    """A release, wherever it runs."""

    file: File = Path("deployer.yaml")
    kind: Annotated[Kind, typer.Option("--target", envvar="DEPLOYER_TARGET", help="Where the release runs.")] = (
        Kind.LOCAL
    )
    context: Context = ""
    namespace: Namespace = ""
    kubeconfig: Kubeconfig = ""
    state_dir: StateDir = None


@dataclass(frozen=True, kw_only=True)
class LocalOptions(OptionGroup):
    """A release on this machine."""

    file: File = Path("deployer.yaml")
    state_dir: StateDir = None

    def target(self) -> LocalTarget:
        """The release. Errors: SpecError when the file is needed and cannot be read."""
        return local_target(Where(file=self.file, state_dir=self.state_dir))
