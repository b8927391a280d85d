"""`deployer export`: a trained model becomes the next version of a store, after all checks have passed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from deployer.domain.store import DEFAULT_SIGNATURE, Manifest, ParityFact, SignatureFact, size_text
from deployer.errors import ExportError, SpecError, disk_errors
from deployer.models.export import parity, sample_inputs, warmup
from deployer.models.export.savedmodel import Source, WrittenModel, open_source
from deployer.targets.base import Progress
from deployer.targets.storage import manifest, signatures
from deployer.targets.storage.disk import OnStep, no_step
from deployer.targets.storage.layout import ModelStore, Staging
from gateway.spec import SpecProblem, check_signature, parse_spec

Clock = Callable[[], datetime]


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What to export, and where.

    `version` None means the next free one. `samples` None generates `sample_rows` random rows from `seed`.
    `warmup_batch_sizes` should be the allowed batch sizes of the release. `max_size` is in bytes, None for no limit.
    With `require_batchable`, a signature that cannot be batched is an error; otherwise it is noted in the manifest.
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
    warmup_batch_sizes: tuple[int, ...] = (1, 8, 32)
    metrics: Mapping[str, float] = field(default_factory=dict)
    max_size: int | None = None
    require_batchable: bool = False
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A published version, or with `dry_run` one that passed all checks and was deleted."""

    model: str
    version: int
    path: Path
    dry_run: bool
    manifest: Manifest


def export(
    request: ExportRequest,
    *,
    progress: Progress,
    clock: Clock = lambda: datetime.now(UTC),
    on_step: OnStep = no_step,
) -> Exported:
    """Write, check and publish one version; a server sees it only after all checks have passed.

    Errors: ExportError (source, signature, parity, size, version exists), SpecError (features.yaml).
    """
    store = ModelStore(root=request.store, model=request.model)
    with disk_errors(ExportError), _staging_directory(store, request) as staging:
        progress(f"reading {request.source}")
        source = open_source(request.source)
        progress(f"writing version {staging.version} of model {request.model}")
        source.save(staging.path, on_step=on_step)
        facts = signatures.read(staging.path)
        signature = facts.signature(request.signature)
        problem = _batching_problem(signature, request)
        if problem:
            progress(f"signature '{request.signature}' cannot be batched: {problem}")
        _put_features(staging.path, signature, request.features)
        parity_fact, sizes = _test(source, staging.path, signature, request, progress=progress)
        result = Manifest(
            model=request.model,
            version=staging.version,
            created=clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            source=request.source,
            tensorflow=facts.tensorflow,
            signature=request.signature,
            signatures=facts.signatures,
            files=manifest.measure(staging.path, on_file=lambda path: on_step(f"measure {path}")),
            batching_problem=problem,
            warmup_batch_sizes=sizes,
            parity=parity_fact,
            metrics=request.metrics,
        )
        _check_size(result, request.max_size)
        on_step(f"write {manifest.MANIFEST}")
        (staging.path / manifest.MANIFEST).write_bytes(manifest.encode(result))
        path = store.base / str(staging.version)
        if not request.dry_run:
            path = store.publish(staging, on_step=on_step)
            progress(f"published {path} ({size_text(result.size)})")
    return Exported(model=request.model, version=result.version, path=path, dry_run=request.dry_run, manifest=result)


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


def _batching_problem(signature: SignatureFact, request: ExportRequest) -> str:
    problem = signature.batching_problem()
    if problem and request.require_batchable:
        raise ExportError(
            f"signature '{request.signature}' cannot be batched: {problem}",
            hint="give every input and output an unknown dimension 0 (None), or serve this model without batching",
        )
    return problem


def _put_features(version_dir: Path, signature: SignatureFact, features: Path | None) -> None:
    """Copy features.yaml into the version and check it; a features.yaml in the SavedModel is checked too."""
    target = version_dir / manifest.FEATURES
    target.parent.mkdir(exist_ok=True)
    if features is None and not target.exists():
        return
    path = features or target
    try:
        text = path.read_bytes()
        check_signature(parse_spec(text), signature.inputs, signature.outputs)
    except OSError as error:
        raise SpecError(f"feature spec {path} cannot be read", hint="check --features") from error
    except SpecProblem as error:
        raise SpecError(
            f"feature spec {path} does not match the model",
            cause=str(error),
            hint="correct the feature spec, or export the model that it belongs to",
        ) from error
    target.write_bytes(text)


def _test(
    source: Source, version_dir: Path, signature: SignatureFact, request: ExportRequest, *, progress: Progress
) -> tuple[ParityFact, tuple[int, ...]]:
    """Compare the version with its source, then write the warm-up records and replay them."""
    if request.samples:
        inputs = sample_inputs.read_inputs(request.samples, signature)
    else:
        inputs = sample_inputs.random_inputs(signature, rows=request.sample_rows, seed=request.seed)
    batchable = not signature.batching_problem()
    rows = len(next(iter(inputs.values()))) if batchable else 1
    written = WrittenModel(version_dir)
    progress(f"comparing the outputs for {rows} sample rows with those of the source")
    source_outputs, written_outputs = source.run(request.signature, inputs), written.run(request.signature, inputs)
    parity_fact = parity.compare(source_outputs, written_outputs, request.tolerance, rows=rows)
    sizes = request.warmup_batch_sizes if batchable else ()
    path = version_dir / manifest.WARMUP
    warmup.write(path, model=request.model, signature=request.signature, inputs=inputs, batch_sizes=sizes)
    count = warmup.replay(path, written)
    progress(f"replaying {count} warm-up record{'' if count == 1 else 's'}")
    return parity_fact, sizes


def _check_size(result: Manifest, limit: int | None) -> None:
    if limit is None or result.size <= limit:
        return
    largest = max(result.files, key=lambda path: result.files[path].size)
    raise ExportError(
        f"the version has {size_text(result.size)}, but the limit is {size_text(limit)}",
        cause=f"the largest file is {largest} with {size_text(result.files[largest].size)}",
        hint="export a smaller model, or raise --max-size",
    )
