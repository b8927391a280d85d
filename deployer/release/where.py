"""Selects the release of a CLI verb, and its target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.domain import names
from deployer.domain.release import Release
from deployer.errors import UsageError
from deployer.release import spec
from deployer.targets.base import Target
from deployer.targets.cluster.api import Place
from deployer.targets.cluster.target import ClusterTarget

if TYPE_CHECKING:
    from deployer.targets.local.target import LocalTarget

STATE_FOLDER = ".deployer"


class Kind(StrEnum):
    """Where a release runs."""

    LOCAL = "local"
    CLUSTER = "cluster"


@dataclass(frozen=True, kw_only=True)
class Where:
    """The release that `file` describes, and its target.

    `state_dir` is that of a local release, None for the default. `context` and `namespace` take precedence over
    deployer.yaml, which takes precedence over the current context; an empty `kubeconfig` means kubectl's default.
    """

    file: Path
    kind: Kind = Kind.LOCAL
    context: str = ""
    namespace: str = ""
    kubeconfig: str = ""
    state_dir: Path | None = None


def open_target(where: Where) -> Target:
    """Open the target; a local release with a given state directory needs no deployer.yaml.

    Errors: SpecError for the file, UsageError, TargetError for a missing context.
    """
    if where.kind is Kind.LOCAL and where.state_dir is not None:
        _check_local(where)
        return local_target(where)
    return open_release(where)[1]


def open_release(where: Where) -> tuple[Release, Target]:
    """The release and its target; deployer.yaml is read once. Errors: as for `open_target`."""
    if where.kind is Kind.CLUSTER:
        return open_cluster(where)
    _check_local(where)
    release = described(where)
    state_dir = where.state_dir or state_directory_of(release, where.file)
    return release, local_target(replace(where, state_dir=state_dir))


def _check_local(where: Where) -> None:
    if where.context or where.namespace or where.kubeconfig:
        raise UsageError("--context, --namespace and --kubeconfig need a cluster", hint="add --target cluster")


def local_target(where: Where) -> LocalTarget:
    """Open a local release. Errors: SpecError when the file is needed and cannot be read."""
    from deployer.targets.local.target import LocalTarget  # verbs of a cluster need nothing of it

    return LocalTarget(where.state_dir or state_directory(where.file))


def state_directory(file: Path) -> Path:
    """Where the state of a local release is kept by default: `.deployer/<release>` beside its file."""
    return state_directory_of(spec.load(file), file)


def state_directory_of(release: Release, file: Path) -> Path:
    """The same for a release that was read from `file` already."""
    return file.parent / STATE_FOLDER / release.name


def open_cluster(where: Where) -> tuple[Release, ClusterTarget]:
    """The release and its cluster target. Errors: as for `open_target`."""
    release = described(where)
    place = Place(namespace=release.namespace, context=release.context, kubeconfig=where.kubeconfig)
    return release, ClusterTarget.open(release.name, place, tls=release.gateway.tls)


def described(where: Where) -> Release:
    """The release, with the requested context and namespace.

    Errors: SpecError, UsageError for an invalid namespace, or one that differs from the namespace of the store's PVC.
    """
    release = spec.load(where.file)
    if where.namespace and (problem := names.namespace_problem(where.namespace)):
        raise UsageError(problem)
    try:
        return replace(
            release, namespace=where.namespace or release.namespace, context=where.context or release.context
        )
    except ValueError as error:
        raise UsageError(str(error), hint="leave out --namespace") from error
