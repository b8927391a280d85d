"""`deployer export`: a trained model becomes the next version in a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployer.cli.console import console
from deployer.cli.options.engine import EngineOption, ImageOption, prover
from deployer.cli.options.lists import whole
from deployer.cli.options.pvc import StoreDirectory
from deployer.cli.verb import DryRun, Verb
from deployer.domain.store import DEFAULT_SIGNATURE, Format, Quantize, WarmUp, parse_size, size_text
from deployer.errors import UsageError
from deployer.records.text import json_of
from deployer.targets.local.state import Engine

if TYPE_CHECKING:
    from deployer.domain.store import ParityFact
    from deployer.models.export.export import Exported

app = Verb(help="Export a trained model as the next version in the store.")


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command()
def export(
    source: Annotated[
        str,
        typer.Argument(
            help="A file of Keras (.keras, .h5), XGBoost (.json, .ubj), LightGBM (.txt, .lgb) or scikit-learn (.skops, "
            ".joblib, .pkl), a SavedModel directory, or package.module:function."
        ),
    ],
    store: StoreDirectory,
    model: Annotated[str, typer.Option("--model", help="Name of the model.")],
    version: Annotated[
        int | None, typer.Option("--version", help="Version number; by default the next free one.")
    ] = None,
    signature: Annotated[str, typer.Option("--signature", help="Signature to serve.")] = DEFAULT_SIGNATURE,
    features: Annotated[Path | None, typer.Option("--features", help="Feature spec to store with the version.")] = None,
    samples: Annotated[
        Path | None,
        typer.Option("--samples", help="Sample inputs (.npz, .jsonl, .csv, .parquet); by default random."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of random sample inputs.")] = 0,
    rtol: Annotated[float, typer.Option("--rtol", min=0, help="Relative tolerance of the parity check.")] = 1e-4,
    atol: Annotated[float, typer.Option("--atol", min=0, help="Absolute tolerance of the parity check.")] = 1e-5,
    warmup_batch_sizes: Annotated[
        str, typer.Option("--warmup-batch-sizes", metavar="N,N…", help="Batch sizes of the warm-up requests.")
    ] = "1,8,32",
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME=NUMBER", help="Metric to record in the manifest; repeatable."),
    ] = None,
    metrics_file: Annotated[
        Path | None,
        typer.Option("--metrics-file", help='JSON file of metrics to record in the manifest: {"accuracy": 0.97}.'),
    ] = None,
    max_size: Annotated[
        int | None,
        typer.Option("--max-size", parser=_size, metavar="SIZE", help="Fail if the version is larger, e.g. 500MB."),
    ] = None,
    require_batchable: Annotated[
        bool, typer.Option("--require-batchable", help="Fail if the signature cannot be batched.")
    ] = False,
    warmup: Annotated[
        WarmUp, typer.Option("--warmup", help="Keep the warm-up requests that come with the model, or write new ones.")
    ] = WarmUp.KEEP,
    warmup_from: Annotated[
        Path | None,
        typer.Option("--warmup-from", help="Records that become the warm-up requests: .jsonl, .csv, .parquet."),
    ] = None,
    format: Annotated[Format, typer.Option("--format", help="What the version holds.")] = Format.SAVED_MODEL,
    quantize: Annotated[Quantize, typer.Option("--quantize", help="Numbers of a TFLite model.")] = Quantize.NONE,
    max_error: Annotated[
        float | None,
        typer.Option("--max-error", min=0, help="Of a quantized model: root mean square, as a share of the range."),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option("--min-agreement", min=0, max=1, help="Of a quantized model: rows with the same highest score."),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Read a file although it may run code; only for files that you trust.")
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", metavar="FILE", help="Training rows: the spec must accept them; `drift` compares live ones."
        ),
    ] = None,
    rates: Annotated[
        Path | None, typer.Option("--rates", help="File of exchange rates for the rows of --data.")
    ] = None,
    expected: Annotated[
        Path | None,
        typer.Option(
            "--expected",
            help="Tensors that training made from these rows (.npz); the skew is recorded in the manifest.",
        ),
    ] = None,
    engine: EngineOption = Engine.EMBEDDED,
    image: ImageOption = "",
    dry_run: DryRun = False,
) -> None:
    """Export a trained model as the next version in the store.

    Writes the SavedModel and loads it on a model server. There its responses are compared with those of the source,
    rows are sent together and alone, and warm-up requests are replayed. Only then does the version become visible.
    """
    from deployer.models.export import export as usecase
    from deployer.models.proof.parity import Tolerance
    from deployer.models.proof.quantized import Bounds

    if expected is not None and not data:
        raise UsageError("--expected needs --data", hint="name the rows from which training made it")
    request = usecase.ExportRequest(
        source=source,
        store=store,
        model=model,
        version=version,
        signature=signature,
        features=features,
        samples=samples,
        seed=seed,
        tolerance=Tolerance(rtol=rtol, atol=atol),
        warmup_batch_sizes=tuple(sorted(set(whole("--warmup-batch-sizes", warmup_batch_sizes, example="1,8,32")))),
        metrics=_metrics(metric or [], metrics_file),
        max_size=max_size,
        require_batchable=require_batchable,
        warmup=warmup,
        warmup_from=warmup_from,
        trust=trust,
        data=tuple(data or ()),
        rates=rates,
        expected=expected,
        dry_run=dry_run,
        prover=prover(engine, image),
        format=format,
        quantize=quantize,
        bounds=Bounds(error=max_error, agreement=min_agreement),
    )
    exported = usecase.export(request, progress=console.progress)
    console.result("Exported", exported, lambda: _text(exported))


def _metrics(pairs: list[str], file: Path | None) -> dict[str, float]:
    metrics: dict[str, float] = {}
    if file is not None:
        try:
            document = json_of(file, UsageError, hint='write {"accuracy": 0.97}')
            metrics = {str(name): float(value) for name, value in document.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"metrics file {file} cannot be read", hint='write {"accuracy": 0.97}') from error
    for pair in pairs:
        name, equals, value = pair.partition("=")
        try:
            metrics[name] = float(value)
        except ValueError as error:
            raise UsageError(f"--metric {pair!r} is not NAME=NUMBER", hint="write --metric accuracy=0.97") from error
        if not (name and equals):
            raise UsageError(f"--metric {pair!r} is not NAME=NUMBER", hint="write --metric accuracy=0.97")
    return metrics


def _text(exported: Exported) -> str:
    known = exported.manifest
    done = "would be" if exported.dry_run else "is"
    lines = [f"version {exported.version} of model {exported.model} {done} {exported.path} ({size_text(known.size)})"]
    if known.format is Format.TFLITE:
        lines.append(f"format     TFLite, {known.quantize}: serve it with --prefer_tflite_model, which a release sets")
    if known.parity:
        lines.append(f"parity     {_parity(known.parity)}")
    if known.skew:
        lines.append(f"skew       {known.skew.rows} rows, largest difference {known.skew.max_difference:.3g}")
    lines.append(f"batching   {'possible' if known.batchable else 'not possible: ' + known.batching_problem}")
    if exported.kept_warmup is None:
        sizes = ", ".join(map(str, known.warmup_batch_sizes)) or "none: one request with the sample inputs"
        lines.append(f"warm-up    batch sizes {sizes}")
    else:
        lines.append(f"warm-up    {exported.kept_warmup} requests that came with the model")
    if known.metrics:
        lines.append("metrics    " + ", ".join(f"{name} {value:g}" for name, value in known.metrics.items()))
    if not exported.dry_run:
        lines.append(f"next       {_next(exported)}")
    return "\n".join(lines)


def _parity(fact: ParityFact) -> str:
    text = f"{fact.rows} rows, largest difference {fact.max_difference:.3g}"
    if fact.error is not None:
        text += f", root mean square {fact.error:.2%} of the range"
    return text if fact.agreement is None else f"{text}, the same highest score in {fact.agreement:.1%}"


def _next(exported: Exported) -> str:
    """What a person would do with the version now."""
    if exported.version == 1:
        return "name the store and the model in deployer.yaml (`deployer init`), then `deployer local up` or `deploy`"
    rollout = f"`deployer rollout start {exported.model} --to {exported.version}`"
    return f"{rollout} where a release serves an older version; in a cluster `deployer publish` copies it there first"
