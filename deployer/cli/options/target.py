"""Which release a verb means: the options of every verb that talks to a target, and what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployer.release.where import Kind, Where, open_target
from deployer.release.where import local_target as _local_target
from deployer.targets.base import Target

if TYPE_CHECKING:
    from deployer.targets.local.target import LocalTarget

StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        help="State of the local release; by default .deployer/RELEASE beside the file.",
        show_default=False,
    ),
]
TargetKind = Annotated[Kind, typer.Option("--target", envvar="DEPLOYER_TARGET", help="Where the release runs.")]
Context = Annotated[str, typer.Option("--context", help="Kube-context; by default that of the file, else the current.")]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Namespace; by default that of the file.")]
Kubeconfig = Annotated[str, typer.Option("--kubeconfig", help="Kubeconfig file; by default kubectl's.")]


def local_target(file: Path, state_dir: Path | None) -> LocalTarget:
    """The local release that `file` describes. Errors: SpecError when the file is needed and cannot be read."""
    return _local_target(Where(file=file, state_dir=state_dir))


def target(file: Path, kind: Kind, *, state_dir: Path | None, context: str, namespace: str, kubeconfig: str) -> Target:
    """The release that `file` describes, where the options say. Errors: SpecError, UsageError, TargetError."""
    where = Where(
        file=file, kind=kind, state_dir=state_dir, context=context, namespace=namespace, kubeconfig=kubeconfig
    )
    return open_target(where)
