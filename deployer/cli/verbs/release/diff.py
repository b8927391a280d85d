"""`deployer diff`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.console import Table, console
from deployer.cli.options.target import Context, Namespace
from deployer.cli.verb import File, Kubeconfig, Verb
from deployer.errors import TargetError
from deployer.release.git.values_files import Difference, differences
from deployer.release.where import Kind, Where, open_cluster

app = Verb()


@app.command()
def diff(
    values: Annotated[
        Path,
        typer.Option(
            "--values", metavar="DIR", help="Folder with the values files of both charts.", show_default=False
        ),
    ],
    file: File = Path("deployer.yaml"),
    *,
    context: Context = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
) -> int:
    """Compare versions, labels and weights in values files with those in the cluster.

    The exit code is 0 when they agree and 6 when they do not.
    """
    where = Where(file=file, kind=Kind.CLUSTER, context=context, namespace=namespace, kubeconfig=kubeconfig)
    _, target = open_cluster(where)
    found = differences(values, target)
    console.result("Differences", {"agree": not found, "differences": found}, lambda: table(found))
    return TargetError.exit_code if found else 0


def table(found: tuple[Difference, ...]) -> Table | str:
    """The differences, for a person."""
    if not found:
        return "the values files and the cluster agree"
    rows = [(one.model, one.what, _text(one.files), _text(one.cluster)) for one in found]
    return Table(columns=("model", "what", "in the files", "in the cluster"), rows=rows)


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, dict):
        return ", ".join(f"{key}={number:g}" for key, number in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
