"""Functions of a user's own package, installed in the image of the gateway, that a spec names with package and version.

What the image does not have is refused when the spec is loaded. Nothing is ever read from the model store.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from gateway.spec.base import SpecProblem

Kind = Literal["transform", "interpreter"]


def made(kind: Kind, entry: str, package: str, options: Mapping[str, object] | None) -> Any:
    """What the entry point makes of the options. `package` is NAME==VERSION; the group is `tfserving_deployer.<kind>s`.

    Errors: SpecProblem when the package is absent, of another version, or its function fails.
    """
    group = f"tfserving_deployer.{kind}s"
    name, _, version = package.partition("==")
    found = [point for point in entry_points(group=group) if point.name == entry and _package(point) == name]
    if not found:
        known = ", ".join(sorted(f"{_package(point)}:{point.name}" for point in entry_points(group=group))) or "none"
        raise SpecProblem("", f"this image has no {kind} '{entry}' of {name}; it has {known}. Install {package}")
    (point, *_) = found
    installed = point.dist.version if point.dist is not None else ""
    if installed != version:
        raise SpecProblem("", f"the spec was written for {package}, this image has {name}=={installed}")
    try:
        return point.load()(**(options or {}))
    except Exception as error:
        raise SpecProblem("", f"{kind} '{entry}' of {package} cannot be created: {error}") from error


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else ""
