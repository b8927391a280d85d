"""Which release a verb means, and where it is."""

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

STATE = ".deployer"


class Kind(StrEnum):
    """Where a release runs."""

    LOCAL = "local"
    CLUSTER = "cluster"


@dataclass(frozen=True, kw_only=True)
class Where:
    """The release that `file` describes, and where to look for it.

    `state_dir` is that of a local release, None for the usual place. `context` and `namespace` win over deployer.yaml,
    which wins over the current context; `kubeconfig` empty means kubectl's own.
    """

    file: Path
    kind: Kind = Kind.LOCAL
    context: str = ""
    namespace: str = ""
    kubeconfig: str = ""
    state_dir: Path | None = None


def open_target(where: Where) -> Target:
    """The release as a target; a local one with its own state directory needs no deployer.yaml.

    Errors: SpecError for the file, UsageError, TargetError without such a context.
    """
    if where.kind is Kind.LOCAL and where.state_dir is not None:
        _check_local(where)
        return local_target(where)
    return open_release(where)[1]


def open_release(where: Where) -> tuple[Release, Target]:
    """The release and its target, by one reading of deployer.yaml. Errors: as of `open_target`."""
    if where.kind is Kind.CLUSTER:
        return open_cluster(where)
    _check_local(where)
    release = described(where)
    state_dir = where.state_dir or state_directory_of(release, where.file)
    return release, local_target(replace(where, state_dir=state_dir))


def _check_local(where: Where) -> None:
    if where.context or where.namespace or where.kubeconfig:
        raise UsageError("--context, --namespace and --kubeconfig are for a cluster", hint="add --target cluster")


def local_target(where: Where) -> LocalTarget:
    """The release on this machine. Errors: SpecError when the file is needed and cannot be read."""
    from deployer.targets.local.target import LocalTarget  # verbs of a cluster need nothing of it

    return LocalTarget(where.state_dir or state_directory(where.file))


def state_directory(file: Path) -> Path:
    """Where the state of a local release is kept when nobody says otherwise: `.deployer/<release>` beside its file."""
    return state_directory_of(spec.load(file), file)


def state_directory_of(release: Release, file: Path) -> Path:
    """The same for a release that was read from `file` already."""
    return file.parent / STATE / release.name


def open_cluster(where: Where) -> tuple[Release, ClusterTarget]:
    """The release and its cluster. Errors: as `open_target`."""
    release = described(where)
    place = Place(namespace=release.namespace, context=release.context, kubeconfig=where.kubeconfig)
    return release, ClusterTarget.open(release.name, place)


def described(where: Where) -> Release:
    """The release, moved to the context and namespace that were asked for.

    Errors: SpecError, UsageError for a namespace that cannot be or where the store's claim is not.
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
