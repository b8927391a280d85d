"""Checks whether the versions of a store load on the model server that will serve them, with their warm-up requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deployer.domain.store import Fault
from deployer.errors import ExportError
from deployer.models.catalog import Verification
from deployer.models.proof.served import Prover
from deployer.targets.base import Progress
from deployer.targets.storage.layout import ModelStore
from tfserving.tflite import MODEL_FILE

LOADED_MODEL = "version"


def loaded(
    store: Path, results: Sequence[Verification], prover: Prover, *, progress: Progress
) -> tuple[Verification, ...]:
    """The results, with an added fault for each version that does not load; damaged versions are not loaded.

    Errors: ToolError when the model server is not installed.
    """
    return tuple(result if result.faults else _load(store, result, prover, progress) for result in results)


def _load(store: Path, result: Verification, prover: Prover, progress: Progress) -> Verification:
    try:
        prove(ModelStore(root=store, model=result.model).path(result.version), prover, progress)
        return result
    except ExportError as error:
        problem = ": ".join(part for part in (error.message, error.cause) if part)
        return replace(result, faults=(Fault(path=".", problem=f"{problem} ({error.hint})"),))


def prove(path: Path, prover: Prover, progress: Progress) -> None:
    """Load one version directory with its warm-up requests. Errors: ExportError with TensorFlow's reason; ToolError."""
    progress(f"loading {path} on a model server")
    if (path / MODEL_FILE).exists():
        prover = prover.of_tflite()
    with prover.serving({LOADED_MODEL: path}, warm_up=True):
        pass
