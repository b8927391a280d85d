"""Versions of a local release that no model server can load: they are left out, so that the other models are served.

TensorFlow Serving ends when a version of its first model_config cannot be loaded, and takes all other models with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployer.domain.serving import STABLE, ModelState, ServingConfig
from deployer.targets.base import Progress
from deployer.targets.local.one_server import TFLITE, Program, one_server


@dataclass(frozen=True, kw_only=True)
class Unloadable:
    """A version that cannot be loaded, with the model server's reason."""

    model: str
    version: int
    reason: str

    def __str__(self) -> str:
        return f"version {self.version} of {self.model}: {self.reason}"


def find(
    program: Program, state: ServingConfig, base_path: Mapping[str, str], *, timeout: float, progress: Progress
) -> tuple[Unloadable, ...]:
    """The versions of a state that a model server cannot load, each tried on one server of its own process.

    `base_path` gives the directory of each model; `timeout` is in seconds. Errors: TargetError when that server ends,
    WaitTimeout, ToolError.
    """
    wanted = [(name, version) for name, model in state.models.items() for version in model.versions]
    progress(f"trying {len(wanted)} versions on a model server, to find what cannot be loaded")
    paths = {f"v{index}": Path(base_path[name]) / str(version) for index, (name, version) in enumerate(wanted)}
    with one_server(program, paths, flags=TFLITE, timeout=timeout) as server:
        return tuple(
            Unloadable(model=name, version=version, reason=server.failed[f"v{index}"])
            for index, (name, version) in enumerate(wanted)
            if f"v{index}" in server.failed
        )


def without(state: ServingConfig, broken: Sequence[Unloadable]) -> ServingConfig:
    """The state without these versions and their labels; a model whose stable version is one of them is left out."""
    models: dict[str, ModelState] = {}
    for name, model in state.models.items():
        bad = {one.version for one in broken if one.model == name}
        labels = {label: version for label, version in model.labels.items() if version not in bad}
        versions = tuple(version for version in model.versions if version not in bad)
        lost = STABLE in model.labels and STABLE not in labels
        if versions and not lost:
            weights = {label: share for label, share in model.weights.items() if label in labels or not model.labels}
            models[name] = ModelState(versions=versions, labels=labels, weights=weights)
    return ServingConfig(models=models)
