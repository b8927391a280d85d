"""A store in a PVC on the command line: its address, and how its pod is run. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployer.cli.console import console
from deployer.cli.options.group import OptionGroup
from deployer.cli.verb import Kubeconfig, Timeout
from deployer.domain.location import PvcStore, parse_store
from deployer.domain.pods import Pods
from deployer.errors import UsageError

if TYPE_CHECKING:
    from deployer.models.catalog import Catalog
    from deployer.models.pvc import PvcAccess

SCHEME = "pvc://"


def _directory(text: str | Path) -> Path:
    if str(text).startswith(SCHEME):
        raise typer.BadParameter(f"{text} is a PVC in a cluster; this verb needs a directory")
    return Path(text)


StoreDirectory = Annotated[
    Path, typer.Option("--store", parser=_directory, metavar="DIRECTORY", help="Directory of the store.")
]

AnyStore = Annotated[str, typer.Option("--store", help="Directory of the store, or pvc://NAMESPACE/PVC[/SUBPATH].")]


@dataclass(frozen=True, kw_only=True)
class PodOptions(OptionGroup):
    """How the pod that mounts a PVC is run."""

    image: Annotated[
        str,
        typer.Option(
            "--image", help="Image with Python for the pod that mounts the PVC; by default the deployer's own."
        ),
    ] = ""
    context: Annotated[str, typer.Option("--context", help="Kube-context of the PVC; by default the current one.")] = ""
    kubeconfig: Kubeconfig = ""
    timeout: Timeout = 180.0
    file: Annotated[
        Path | None,
        typer.Option(
            "-f",
            "--file",
            help="The deployer.yaml of the release; its section `pods` applies to the pod. By default ./deployer.yaml,"
            " if there is one for the namespace of the PVC.",
        ),
    ] = None

    def access(self, store: str) -> PvcAccess:
        """Access to the PVC that an option names. Errors: UsageError."""
        from deployer.models.pvc import PvcAccess
        from deployer.release.kind_cluster import local_image
        from deployer.targets.cluster.api import Place

        pvc = pvc_store(store)
        place = Place(namespace=pvc.namespace, context=self.context, kubeconfig=self.kubeconfig)
        image, pods = self.image or local_image("deployer"), self._pods(pvc)
        return PvcAccess(pvc=pvc, place=place, image=image, timeout=self.timeout, pods=pods)

    def _pods(self, pvc: PvcStore) -> Pods:
        """What deployer.yaml says of pods. Errors: SpecError."""
        from deployer.release import spec

        path = self.file or Path("deployer.yaml")
        if self.file is None and not path.exists():
            return Pods()
        release = spec.load(path)
        return release.pods if self.file is not None or release.namespace == pvc.namespace else Pods()


@contextmanager
def catalog(store: str, pod: PodOptions) -> Iterator[Catalog]:
    """The versions of a store that an option names, a directory or a PVC. Errors: UsageError, those of `opened`."""
    from deployer.models.catalog import DirectoryCatalog

    if not store.startswith(SCHEME):
        yield DirectoryCatalog(root=Path(store))
        return
    from deployer.models.pvc import PvcCatalog, opened

    with opened(pod.access(store), console.progress) as storage:
        yield PvcCatalog(storage)


def pvc_store(text: str) -> PvcStore:
    """The PVC that an option names. Errors: UsageError."""
    hint = f"write {SCHEME}NAMESPACE/PVC or {SCHEME}NAMESPACE/PVC/SUBPATH"
    try:
        store = parse_store(text, "/")
    except ValueError as error:
        raise UsageError(str(error), hint=hint) from error
    if not isinstance(store, PvcStore):
        raise UsageError(f"{text!r} is not the address of a PVC", hint=hint)
    return store
