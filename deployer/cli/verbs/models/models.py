"""`deployer models`: list, inspect, verify, compare and prune the versions in a store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployer.cli import candidates
from deployer.cli.console import Table, console
from deployer.cli.options.engine import EngineOption, ImageOption, prover
from deployer.cli.options.lists import whole
from deployer.cli.options.pvc import SCHEME, AnyStore, PodOptions, StoreDirectory, catalog
from deployer.cli.options.target import StateDir
from deployer.cli.verb import DryRun, ModelName, Verb
from deployer.domain.gate import Gate, parse_gate
from deployer.domain.store import DEFAULT_SIGNATURE, Format, size_text
from deployer.errors import UsageError
from deployer.targets.local.state import Engine
from deployer.tools import pictures

if TYPE_CHECKING:
    from deployer.models.catalog import Inspection, Verification, VersionSummary
    from deployer.models.prune import Pruned

app = Verb(group=True, help="List, inspect, verify, compare and prune the versions in a store.")

DAMAGED = 4
"""Exit code of `verify` when a file is not what was published (that of ExportError)."""


@app.command("list")
def list_(
    store: AnyStore,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Only this model.")] = None,
    *,
    pod: PodOptions,
) -> None:
    """List every version in a store: state, size, date, metrics."""
    with catalog(store, pod) as stored:
        found = stored.versions(model)
    console.result("Versions", found, lambda: _table(found))


@app.command()
def inspect(
    store: AnyStore,
    model: ModelName,
    version: Annotated[
        int | None, typer.Option("--version", help="By default the newest.", autocompletion=candidates.versions)
    ] = None,
    *,
    pod: PodOptions,
) -> None:
    """Show one version: signatures, feature spec, checks, files."""
    with catalog(store, pod) as stored:
        inspection = stored.inspect(model, version)
    console.result("Version", inspection, lambda: _description(inspection))


@app.command()
def verify(
    store: AnyStore,
    model: ModelName,
    version: Annotated[
        int | None, typer.Option("--version", help="By default every version.", autocompletion=candidates.versions)
    ] = None,
    load: Annotated[
        bool, typer.Option("--load", help="Also load each version on a local model server, with its warm-up requests.")
    ] = False,
    engine: EngineOption = Engine.EMBEDDED,
    *,
    pod: PodOptions,
) -> int:
    """Recompute the checksums of every file; name what is damaged, missing or extra (exit code 4).

    With --load, a version that the model server cannot load is also reported, with TensorFlow's reason.
    """
    if load and store.startswith(SCHEME):
        raise UsageError(
            "--load runs a model server here, and the store is in a cluster",
            hint="verify the directory that the version was published from",
        )
    with catalog(store, pod) as stored:
        checked = stored.verify(model, version, progress=console.progress)
    if load:
        from deployer.models.proof.loading import loaded

        checked = loaded(Path(store), checked, prover(engine, pod.image), progress=console.progress)
    console.result("Verification", checked, lambda: "\n".join(map(_verdict, checked)))
    return DAMAGED if any(result.faults for result in checked) else 0


@app.command()
def compare(
    store: StoreDirectory,
    model: ModelName,
    versions: Annotated[list[int], typer.Argument(metavar="VERSION…", help="Two or more versions.")],
    records: Annotated[Path, typer.Option("--records", help="JSONL file of labelled records, or of inputs.")],
    signature: Annotated[str, typer.Option("--signature", help="Signature to call.")] = DEFAULT_SIGNATURE,
    rates: Annotated[Path | None, typer.Option("--rates", help="File of exchange rates for the records.")] = None,
    requests: Annotated[int, typer.Option("--requests", min=10, help="Timed requests to each version.")] = 1000,
    gate: Annotated[
        list[str] | None, typer.Option("--gate", metavar="GATE", help="Such as accuracy>=0.95 or p99<20ms; repeatable.")
    ] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Picture to write: .png, .svg or .pdf.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", help="deployer.yaml for threads and gates; by default ./deployer.yaml if any."),
    ] = None,
    engine: EngineOption = Engine.EMBEDDED,
    image: ImageOption = "",
) -> None:
    """Compare versions on this machine: accuracy beside latency, CPU time, size, load time and memory.

    Each version runs on a model server of its own, with the threads of the release. The records are sent to all of
    them in turn.
    """
    from deployer.cli.views.compare import compared_text
    from deployer.models.compare.measure import CompareRequest
    from deployer.models.compare.measure import compare as measure

    if picture is not None:
        pictures.require(picture)
    threads, gates = _of_release(file)
    request = CompareRequest(
        store=store,
        model=model,
        versions=tuple(versions),
        records=records,
        signature=signature,
        rates=rates,
        requests=requests,
        threads=threads,
        gates=(*gates, *map(_gate, gate or ())),
        program=prover(engine, image).program,
    )
    found = measure(request, progress=console.progress)
    if picture is not None:
        from deployer.models.compare.picture import draw

        draw(found, picture)
    console.result("VersionComparison", found, lambda: compared_text(found, str(picture or "")))


def _of_release(file: Path | None) -> tuple[int, tuple[Gate, ...]]:
    """Threads inside an operation, and gates; those of this machine where there is no deployer.yaml."""
    path = file or Path("deployer.yaml")
    if file is None and not path.exists():
        return os.cpu_count() or 1, ()
    from deployer.release import spec
    from deployer.release.threads import thread_counts

    release = spec.load(path)
    return thread_counts(release).intra_op, tuple(release.gates)


def _gate(text: str) -> Gate:
    try:
        return parse_gate(text)
    except ValueError as error:
        raise UsageError(str(error), hint="docs/reference/gates.md describes the gates") from error


@app.command()
def prune(
    store: AnyStore,
    model: ModelName,
    keep: Annotated[int, typer.Option("--keep", help="Number of newest versions to keep.")],
    protect: Annotated[str, typer.Option("--protect", metavar="N,N…", help="Other versions to keep.")] = "",
    model_config: Annotated[
        Path | None,
        typer.Option("--model-config", help="Rendered model_config; versions that it serves or labels are kept."),
    ] = None,
    state_dir: StateDir = None,
    *,
    pod: PodOptions,
    dry_run: DryRun = False,
) -> None:
    """Remove all but the newest versions and those in use.

    A version is in use while the release of deployer.yaml serves it, labels it or would roll back to it. In a PVC this
    holds for all releases of its namespace.
    """
    from deployer.models import prune as usecase
    from deployer.models import pvc
    from deployer.models.catalog import version_numbers
    from deployer.release import in_use

    named = dict.fromkeys(whole("--protect", protect, example="3,4", what="versions"), "--protect")
    if store.startswith(SCHEME):
        where = pod.access(store)
        place, api = pvc.reach(where)
        used = in_use.of_cluster_releases(api, place.namespace, model)
        used |= in_use.configured(model_config, model, ()) if model_config else {}
        with pvc.opened(where, console.progress) as storage:
            pruned = usecase.prune_pvc(
                storage, model, keep=keep, protected=named | used, dry_run=dry_run, progress=console.progress
            )
    else:
        directory = Path(store)
        used = in_use.of_local_release(pod.file, state_dir, directory, model)
        used |= in_use.configured(model_config, model, version_numbers(directory, model)) if model_config else {}
        pruned = usecase.prune_directory(
            directory, model, keep=keep, protected=named | used, dry_run=dry_run, progress=console.progress
        )
    console.result("Pruned", pruned, lambda: _pruned(pruned))


def _table(found: tuple[VersionSummary, ...]) -> Table | str:
    if not found:
        return "no versions"
    rows = [
        (
            v.model,
            v.version,
            v.state,
            None if v.size is None else size_text(v.size),
            v.created or None,
            _metrics(v.metrics),
        )
        for v in found
    ]
    return Table(columns=("model", "version", "state", "size", "created", "metrics"), rows=rows)


def _metrics(metrics: Mapping[str, float]) -> str | None:
    return ", ".join(f"{name}={value:.4g}" for name, value in metrics.items()) or None


def _description(inspection: Inspection) -> str:
    known = inspection.manifest
    lines = [f"version {inspection.version} of model {inspection.model} in {inspection.path}"]
    if known is None:
        lines.append("no manifest: not published by this tool, so its files cannot be verified")
    else:
        lines += [
            f"created    {known.created} from {known.source} with tensorflow {known.tensorflow}",
            f"size       {size_text(known.size)} in {len(known.files)} files",
            f"batching   {'possible' if known.batchable else 'not possible: ' + known.batching_problem}",
            f"warm-up    batch sizes {', '.join(map(str, known.warmup_batch_sizes)) or 'none: one record'}",
        ]
        if known.format is Format.TFLITE:
            lines.append(f"format     TFLite, {known.quantize}")
        if known.parity:
            lines.append(f"parity     {known.parity.rows} rows, largest difference {known.parity.max_difference:.3g}")
        if known.skew:
            lines.append(f"skew       {known.skew.rows} rows, largest difference {known.skew.max_difference:.3g}")
        if known.metrics:
            lines.append(f"metrics    {_metrics(known.metrics)}")
    for name, signature in inspection.signatures.items():
        lines.append(f"signature  {name}")
        lines += [f"  input    {tensor}: {fact}" for tensor, fact in signature.inputs.items()]
        lines += [f"  output   {tensor}: {fact}" for tensor, fact in signature.outputs.items()]
    if known is not None:
        lines += [f"file       {path} ({size_text(fact.size)})" for path, fact in known.files.items()]
    if inspection.features is not None:
        lines += ["features", *(f"  {line}" for line in inspection.features.splitlines())]
    return "\n".join(lines)


def _verdict(result: Verification) -> str:
    head = f"version {result.version} of model {result.model}"
    if not result.faults:
        return f"{head}: {result.files} files as published"
    return "\n".join([f"{head}: damaged", *(f"  {fault.path} {fault.problem}" for fault in result.faults)])


def _pruned(pruned: Pruned) -> str:
    verb = "would remove" if pruned.dry_run else "removed"
    removed = [f"{verb} version {version} of model {pruned.model}" for version in pruned.removed]
    kept = [f"kept version {version}: {why}" for version, why in pruned.kept.items()]
    return "\n".join([*removed, *kept])
