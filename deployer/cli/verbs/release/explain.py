"""`deployer explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from deployer.cli.candidates import keys
from deployer.cli.console import Table, console
from deployer.cli.verb import Verb
from deployer.release.explain import Key, explain

app = Verb()


@app.command()
def explain_(
    key: Annotated[
        str,
        typer.Argument(metavar="KEY", help="Path of the key, for example gateway.limits.", autocompletion=keys),
    ] = "",
) -> None:
    """Explain a key of deployer.yaml: its default and its meaning, and the keys below it."""
    found = explain(key)
    console.result("Keys", found, lambda: _text(found))


def _text(found: tuple[Key, ...]) -> str | Table:
    if len(found) == 1:
        only = found[0]
        return f"{only.key}\n  default: {only.default}\n  {only.meaning}"
    return Table(columns=("key", "default", "meaning"), rows=[(one.key, one.default, one.meaning) for one in found])
