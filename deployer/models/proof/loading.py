"""Whether versions that exist load on the model server that will serve them, warm-up requests included."""

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

NAME = "version"


def loaded(
    store: Path, results: Sequence[Verification], prover: Prover, *, progress: Progress
) -> tuple[Verification, ...]:
    """The results with a fault more for each version that does not load; damaged ones are not tried.

    Errors: ToolError when the server is absent.
    """
    return tuple(one if one.faults else _tried(store, one, prover, progress) for one in results)


def _tried(store: Path, result: Verification, prover: Prover, progress: Progress) -> Verification:
    path = ModelStore(root=store, model=result.model).path(result.version)
    progress(f"loading {path} on a model server")
    try:
        with prover.serving({NAME: path}, warm_up=True):
            return result
    except ExportError as error:
        why = ": ".join(part for part in (error.message, error.cause) if part)
        return replace(result, faults=(Fault(path=".", problem=f"{why} ({error.hint})"),))
