"""What every verb about rollouts is called with: a model, and the release that it belongs to."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from deployer.cli.console import console
from deployer.cli.options.target import Context, Kubeconfig, Namespace, StateDir, TargetKind
from deployer.cli.verb import File
from deployer.release.where import Kind, Where
from deployer.rollout.rollouts import Rollouts, rollouts_of

_SHARED: dict[str, tuple[Any, Any]] = {
    "model": (Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")], inspect.Parameter.empty),
    "file": (File, Path("deployer.yaml")),
    "kind": (TargetKind, Kind.LOCAL),
    "context": (Context, ""),
    "namespace": (Namespace, ""),
    "kubeconfig": (Kubeconfig, ""),
    "state_dir": (StateDir, None),
}


def about_rollouts(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command whose first parameter is the `Rollouts` that the options name; its others are its own options."""
    signature = inspect.signature(function, eval_str=True)
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in list(signature.parameters.values())[1:]]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _SHARED.items()
    ]

    @functools.wraps(function)
    def run(*, model: str, state_dir: Path | None, **options: Any) -> Any:
        place = {name: options.pop(name) for name in ("file", "kind", "context", "namespace", "kubeconfig")}
        return function(_rollouts(Where(state_dir=state_dir, **place), model), **options)

    run.__signature__ = signature.replace(parameters=[shared[0], *own, *shared[1:]])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*shared, *own]}
    return run


def _rollouts(where: Where, model: str) -> Rollouts:
    return rollouts_of(where, model, console.progress)
