"""`deployer features`: begin a feature spec from a model and data, and check one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployer.cli.console import console
from deployer.cli.verb import Verb
from deployer.domain.store import DEFAULT_SIGNATURE
from deployer.errors import UsageError
from deployer.files import replace_file

if TYPE_CHECKING:
    from deployer.models.features.check import Checked
    from deployer.models.features.skew import Skew

app = Verb(group=True, help="Create a feature spec from a model and its data, or check one and list all its problems.")

PROBLEMS = 3
"""Exit code of `check` when there are problems (that of SpecError)."""

Source = Annotated[str, typer.Argument(help="A SavedModel directory, or any other source of `export`.")]
Signature = Annotated[str, typer.Option("--signature", help="Signature to serve.")]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="FILE", help="Rows (.jsonl, .csv, .parquet) or a glob in quotes; repeatable."),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Read a file although it may run code; only for files that you trust.")
]


@app.command()
def init(
    source: Source,
    data: Data = None,
    signature: Signature = DEFAULT_SIGNATURE,
    file: Annotated[Path, typer.Option("--file", help="File to write; - prints it.")] = Path("features.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    trust: Trust = False,
) -> None:
    """Write a first features.yaml: the inputs and outputs of the model, and with --data the types, ranges,
    words, means and missing shares of every column. Comments mark what you must decide."""
    from deployer.models.features.profile import profiles
    from deployer.models.features.skeleton import skeleton
    from deployer.models.features.source import signature_of

    found = signature_of(source, signature, trust=trust)
    total, seen = profiles(data) if data else (0, {})
    text = skeleton(source, found, total, seen)
    if str(file) == "-":
        console.result("FeatureSpec", {"text": text}, lambda: text.rstrip("\n"))
        return
    if file.exists() and not force:
        raise UsageError(f"{file} exists", hint="--force replaces it, --file FILE writes another")
    replace_file(file, text.encode())
    console.result("FeatureSpec", {"file": str(file), "text": text}, lambda: f"wrote {file}")


@app.command()
def check(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="features.yaml.")],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="SOURCE", help="A SavedModel directory, or any other source of `export`."),
    ] = None,
    data: Data = None,
    signature: Signature = DEFAULT_SIGNATURE,
    rates: Annotated[
        Path | None, typer.Option("--rates", help="File of exchange rates, in the format of the gateway.")
    ] = None,
    expected: Annotated[
        Path | None,
        typer.Option(
            "--expected", help="Tensors that training made from the rows of --data: an .npz, one array per input."
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="Largest difference from --expected that is accepted.")
    ] = 1e-6,
    trust: Trust = False,
) -> int:
    """List all problems of a feature spec with their lines (exit code 3).

    Checked are the spec itself, its fit with the signature of --model, its currencies, every row of --data, and with
    --expected that the gateway makes of these rows what training made of them (skew).
    """
    from deployer.models.features import check as usecase
    from deployer.models.features.source import signature_of

    if expected is not None and not data:
        raise UsageError("--expected needs --data", hint="name the rows from which training made it")
    request = usecase.CheckRequest(
        spec=spec,
        signature=signature_of(model, signature, trust=trust) if model is not None else None,
        data=tuple(data or ()),
        rates=rates,
        expected=expected,
        tolerance=tolerance,
    )
    checked = usecase.check(request)
    console.result("FeatureCheck", checked, lambda: _text(spec, checked))
    return PROBLEMS if checked.problems else 0


def _text(spec: Path, checked: Checked) -> str:
    lines = [f"{spec}: {problem}" if problem.startswith("line ") else problem for problem in checked.problems]
    lines += [f"note: {note}" for note in checked.notes]
    if checked.rows:
        lines.append(f"rows       {checked.rows}, {checked.bad_rows} rejected")
    if checked.skew is not None:
        lines.append(_skew(checked.skew))
    if not checked.problems:
        lines.append("no problems")
    return "\n".join(lines)


def _skew(skew: Skew) -> str:
    lines = [f"skew       {skew.rows} rows compared, largest difference {skew.max_difference:.3g}"]
    for feature in sorted(skew.features, key=lambda one: -one.max_difference):
        if feature.max_difference > 0:
            first = f", first in rows {', '.join(map(str, feature.first_rows))}" if feature.first_rows else ""
            lines.append(
                f"           {feature.input}.{feature.feature}: {feature.differing_rows} rows, up to "
                f"{feature.max_difference:.3g}{first}"
            )
    return "\n".join(lines)
