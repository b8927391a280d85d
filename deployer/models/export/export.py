"""`deployer export`: a trained model becomes the next version of a store, after all checks have passed.

The checks run on the model server that will serve the version, so the server can load what export publishes.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from deployer.domain.store import (
    DEFAULT_SIGNATURE,
    Format,
    Manifest,
    ParityFact,
    Quantize,
    SignatureFact,
    SkewFact,
    WarmUp,
    size_text,
)
from deployer.errors import ExportError, SpecError, disk_errors
from deployer.models.export import lite, recorded, samples, warmup
from deployer.models.export.samples import Inputs
from deployer.models.export.sources import Source, open_source
from deployer.models.features import check as features_check
from deployer.models.features import training
from deployer.models.proof import parity, quantized
from deployer.models.proof.served import Prover, row_by_row
from deployer.records.text import text_of
from deployer.targets.base import Progress
from deployer.targets.storage import manifest, signatures
from deployer.targets.storage.disk import OnStep, no_step
from deployer.targets.storage.layout import ModelStore, Staging
from gateway.spec import parse_spec
from tfserving.tflite import MODEL_FILE
from tfserving.wire.tensors import Array

Clock = Callable[[], datetime]

STAGED, SOURCE = "staged", "source"
"""The names of the written version and of the source SavedModel on the model server of the checks."""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What to export, and where.

    `version` None means the next free one. `samples` None generates `sample_rows` random rows from `seed`.
    `warmup_batch_sizes` should be the allowed batch sizes of the release. `max_size` is in bytes, None for no limit.
    With `require_batchable`, a signature that cannot be batched is an error; otherwise it is noted in the manifest.
    With `trust`, a source file may run its own code while it is read. `data` are rows that the feature spec must take,
    and whose distribution goes into the version; `rates` the exchange rates for them, and `expected` what training
    made of them. `warmup_from` is a file of records that become the warm-up requests. `prover` starts the model server
    of the checks. `bounds` are those of a quantized model.
    Errors at construction: ExportError for a metric that is not a finite number; SpecError for flags that contradict.
    """

    source: str
    store: Path
    model: str
    version: int | None = None
    signature: str = DEFAULT_SIGNATURE
    features: Path | None = None
    samples: Path | None = None
    sample_rows: int = 8
    seed: int = 0
    tolerance: parity.Tolerance = field(default_factory=parity.Tolerance)
    warmup: WarmUp = WarmUp.KEEP
    warmup_batch_sizes: tuple[int, ...] = (1, 8, 32)
    warmup_from: Path | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    max_size: int | None = None
    require_batchable: bool = False
    trust: bool = False
    data: tuple[str, ...] = ()
    rates: Path | None = None
    expected: Path | None = None
    dry_run: bool = False
    prover: Prover = field(default_factory=Prover)
    format: Format = Format.SAVED_MODEL
    quantize: Quantize = Quantize.NONE
    bounds: quantized.Bounds = field(default_factory=quantized.Bounds)

    def __post_init__(self) -> None:
        if self.quantize is not Quantize.NONE and self.format is not Format.TFLITE:
            raise SpecError(f"--quantize {self.quantize} needs --format tflite", hint="a SavedModel is not quantized")
        if self.quantize is Quantize.INT8 and self.samples is None:
            raise SpecError(
                "--quantize int8 needs --samples: the ranges of its numbers are taken from them",
                hint="pass some hundred typical rows, or choose --quantize dynamic",
            )
        for name, value in self.metrics.items():
            if not math.isfinite(value):
                raise ExportError(
                    f"metric {name} is {value}, which is not a finite number",
                    hint="omit the metric, or correct the evaluation that produced it",
                )


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A published version, or with `dry_run` one that passed all checks and was deleted.

    `kept_warmup` is the number of the model's own warm-up requests that were kept; None if new ones were written.
    """

    model: str
    version: int
    path: Path
    dry_run: bool
    manifest: Manifest
    kept_warmup: int | None = None


@dataclass(frozen=True, kw_only=True)
class _CheckResult:
    """The results of the checks of a staged version on a model server."""

    parity: ParityFact | None
    batching_problem: str
    warmup_batch_sizes: tuple[int, ...]
    kept_warmup: int | None


def export(
    request: ExportRequest,
    *,
    progress: Progress,
    clock: Clock = lambda: datetime.now(UTC),
    on_step: OnStep = no_step,
) -> Exported:
    """Write, check and publish one version; a server sees it only after all checks have passed.

    Errors: ExportError (source, signature, load, parity, size, version exists), SpecError (features.yaml).
    """
    store = ModelStore(root=request.store, model=request.model)
    with disk_errors(ExportError), _staging_directory(store, request) as staging:
        progress(f"reading {request.source}")
        source = open_source(request.source, trust=request.trust)
        progress(f"writing version {staging.version} of model {request.model}")
        source.save(staging.path, on_step=on_step)
        facts = signatures.read(staging.path)
        inputs = _inputs(source, facts.signature(request.signature), request, progress)
        if request.format is Format.TFLITE:
            facts = _convert(staging.path, facts, inputs, request, on_step=on_step, progress=progress)
        signature = facts.signature(request.signature)
        skew = _put_features(staging.path, signature, request)
        checks = _check_on_server(source, staging.path, signature, inputs, request, progress=progress)
        if checks.batching_problem:
            progress(f"signature '{request.signature}' cannot be batched: {checks.batching_problem}")
        result = Manifest(
            model=request.model,
            version=staging.version,
            created=clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            source=request.source,
            tensorflow=facts.tensorflow,
            signature=request.signature,
            signatures=facts.signatures,
            files=manifest.measure(staging.path, on_file=lambda path: on_step(f"measure {path}")),
            batching_problem=checks.batching_problem,
            warmup_batch_sizes=checks.warmup_batch_sizes,
            parity=checks.parity,
            skew=skew,
            metrics=request.metrics,
            format=request.format,
            quantize=request.quantize,
        )
        _check_size(result, request.max_size)
        on_step(f"write {manifest.MANIFEST}")
        (staging.path / manifest.MANIFEST).write_bytes(manifest.encode(result))
        path = store.base / str(staging.version)
        if not request.dry_run:
            path = store.publish(staging, on_step=on_step)
            progress(f"published {path} ({size_text(result.size)})")
    return Exported(
        model=request.model,
        version=result.version,
        path=path,
        dry_run=request.dry_run,
        manifest=result,
        kept_warmup=checks.kept_warmup,
    )


@contextmanager
def _staging_directory(store: ModelStore, request: ExportRequest) -> Iterator[Staging]:
    """A staging directory in the store; for a dry run, a temporary directory, so that the store does not change."""
    if not request.dry_run:
        with store.stage(request.version) as staging:
            yield staging
        return
    version = store.free(request.version)
    with tempfile.TemporaryDirectory(prefix="deployer-dry-run-") as directory:
        yield Staging(version=version, path=Path(directory))


def _put_features(version_dir: Path, signature: SignatureFact, request: ExportRequest) -> SkewFact | None:
    """Copy features.yaml into the version and check it; a features.yaml in the SavedModel is checked too."""
    features = request.features
    target = version_dir / manifest.FEATURES
    target.parent.mkdir(exist_ok=True)
    if features is None and not target.exists():
        if request.data:
            raise SpecError("--data needs a feature spec", hint="add --features, or leave --data out")
        return None
    path = features or target
    try:
        text = text_of(path).encode()
    except OSError as error:
        raise SpecError(f"feature spec {path} cannot be read", hint="check --features") from error
    checked = features_check.check(
        features_check.CheckRequest(
            spec=path,
            signature=signature,
            data=request.data,
            rates=request.rates,
            expected=request.expected,
            tolerance=math.inf,
        )
    )
    if checked.problems:
        raise SpecError(
            f"feature spec {path} does not match the model" + (" or the data" if request.data else ""),
            cause="\n       ".join(checked.problems),
            hint="correct the feature spec, or export the model that it belongs to",
        )
    for name in {str(words.vocabulary_file) for words in parse_spec(text).vocabularies.values()}:
        if path != target:
            shutil.copyfile(path.parent / name, target.parent / name)
    target.write_bytes(text)
    if checked.skew is None:
        return None
    return SkewFact(rows=checked.skew.rows, max_difference=checked.skew.max_difference)


def _convert(
    version_dir: Path,
    facts: signatures.SavedModelFacts,
    inputs: Inputs,
    request: ExportRequest,
    *,
    on_step: OnStep,
    progress: Progress,
) -> signatures.SavedModelFacts:
    """Replace the written SavedModel with a TFLite model; what that declares. Errors: ExportError."""
    progress("converting it to TFLite" + (f", {request.quantize}" if request.quantize is not Quantize.NONE else ""))
    wanted = lite.Conversion(
        signature=request.signature,
        fact=facts.signature(request.signature),
        quantize=request.quantize,
        inputs=inputs,
    )
    content = lite.convert(version_dir, wanted)
    on_step(f"write {MODEL_FILE}")
    lite.replace_saved_model(version_dir, content)
    return replace(facts, signatures=signatures.read(version_dir).signatures)


def _check_on_server(
    source: Source,
    staged: Path,
    signature: SignatureFact,
    inputs: Inputs,
    request: ExportRequest,
    *,
    progress: Progress,
) -> _CheckResult:
    """Send the sample inputs to the staged version, then load it with its warm-up requests. Errors: ExportError."""
    parts = source.parts()
    inputs = {name: array for name, array in inputs.items() if name in signature.inputs}
    prover = request.prover if request.format is Format.SAVED_MODEL else request.prover.of_tflite()
    versions = {STAGED: staged} | ({SOURCE: source.directory} if source.directory is not None else {})
    progress("loading the version on a model server")
    with prover.serving(versions, warm_up=False) as served:
        responses = served.run(STAGED, request.signature, inputs)
        problem = _declared_problem(signature, parts)
        rows = max((len(array) for array in inputs.values() if array.ndim), default=1) if not problem else 1
        progress(f"comparing the responses to {rows} sample row{'' if rows == 1 else 's'} with those of the source")
        if request.data:
            progress("counting features and scores of --data")
            training.put(staged, request.data, request.rates, lambda rows: served.run(STAGED, request.signature, rows))
        expected = (
            source.run(request.signature, inputs)
            if source.directory is None
            else served.run(SOURCE, request.signature, inputs)
        )
        parity_fact = _parity(expected, responses, request, rows=rows)
        if not problem:
            problem = row_by_row(served, STAGED, request.signature, inputs, responses)
    if problem and request.require_batchable:
        raise ExportError(
            f"signature '{request.signature}' cannot be batched: {problem}",
            hint="give every input and output an unknown dimension 0 (None), or serve this model without batching",
        )
    sizes = request.warmup_batch_sizes if not problem else ()
    if request.warmup_from is not None:
        features = staged / manifest.FEATURES
        wanted = max(sizes, default=1)
        recorded_inputs = recorded.read(request.warmup_from, features, request.rates, wanted=wanted, progress=progress)
        inputs = {name: array for name, array in recorded_inputs.items() if name in signature.inputs}
    kept = _put_warmup(staged, inputs, sizes, request, progress)
    progress("loading the version again, with its warm-up requests")
    with prover.serving({STAGED: staged}, warm_up=True):
        pass
    return _CheckResult(
        parity=parity_fact,
        batching_problem=problem,
        warmup_batch_sizes=() if kept is not None else sizes,
        kept_warmup=kept,
    )


def _parity(
    expected: Mapping[str, Array], responses: Mapping[str, Array], request: ExportRequest, *, rows: int
) -> ParityFact:
    if request.quantize is Quantize.NONE:
        return parity.compare(expected, responses, request.tolerance, rows=rows)
    return quantized.compare(expected, responses, request.quantize, request.bounds, rows=rows)


def _inputs(source: Source, signature: SignatureFact, request: ExportRequest, progress: Progress) -> Inputs:
    parts = source.parts()
    if request.samples:
        return samples.read_inputs(request.samples, signature, parts=parts, note=progress)
    chosen = source.samples(signature, rows=request.sample_rows, seed=request.seed)
    if chosen is not None:
        return chosen
    return samples.random_inputs(signature, rows=request.sample_rows, seed=request.seed, parts=parts)


def _declared_problem(signature: SignatureFact, parts: Mapping[str, samples.Part]) -> str:
    """Why the signature cannot be batched, as far as its declaration shows; empty if it can."""
    for part in parts.values():
        return (
            f"the {part.kind} input '{part.tensor}' consists of several tensors, whose rows are not rows of the request"
        )
    return signature.batching_problem()


def _put_warmup(
    staged: Path, inputs: Inputs, sizes: tuple[int, ...], request: ExportRequest, progress: Progress
) -> int | None:
    """Write the warm-up requests, or keep the model's own. Returns the number of kept requests, None for new ones."""
    path = staged / manifest.WARMUP
    if path.exists() and request.warmup is WarmUp.KEEP and request.warmup_from is None:
        kept = warmup.count(path)
        progress(f"keeping the {kept} warm-up requests that came with the model; --warmup new replaces them")
        return kept
    if path.exists():
        progress(f"replacing the {warmup.count(path)} warm-up requests that came with the model")
    warmup.write(path, model=request.model, signature=request.signature, inputs=inputs, batch_sizes=sizes)
    return None


def _check_size(result: Manifest, limit: int | None) -> None:
    if limit is None or result.size <= limit:
        return
    largest = max(result.files, key=lambda path: result.files[path].size)
    raise ExportError(
        f"the version has {size_text(result.size)}, but the limit is {size_text(limit)}",
        cause=f"the largest file is {largest} with {size_text(result.files[largest].size)}",
        hint="export a smaller model, or raise --max-size",
    )
