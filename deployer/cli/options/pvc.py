"""A store in a claim on the command line: its address, and how its pod is run. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployer.domain.location import PvcStore, parse_store
from deployer.errors import UsageError

if TYPE_CHECKING:
    from deployer.models.pvc import PvcAccess

SCHEME = "pvc://"


def _directory(text: str | Path) -> Path:
    if str(text).startswith(SCHEME):
        raise typer.BadParameter(f"{text} is a claim in a cluster; this verb needs a directory")
    return Path(text)


StoreDirectory = Annotated[
    Path, typer.Option("--store", parser=_directory, metavar="DIRECTORY", help="Directory of the store.")
]

StorageImage = Annotated[
    str, typer.Option("--image", help="Any image with Python for the pod in the claim; by default the deployer's own.")
]
Context = Annotated[str, typer.Option("--context", help="Kube-context of the claim; by default the current one.")]
Kubeconfig = Annotated[str, typer.Option("--kubeconfig", help="Kubeconfig file; by default kubectl's.")]


def pvc_store(text: str) -> PvcStore:
    """The claim that an option names. Errors: UsageError."""
    hint = f"write {SCHEME}NAMESPACE/CLAIM or {SCHEME}NAMESPACE/CLAIM/SUBPATH"
    try:
        store = parse_store(text, "/")
    except ValueError as error:
        raise UsageError(str(error), hint=hint) from error
    if not isinstance(store, PvcStore):
        raise UsageError(f"{text!r} is no claim", hint=hint)
    return store


def access(store: str, *, image: str, context: str, kubeconfig: str, timeout: float) -> PvcAccess:
    """How to look into the claim that an option names. Errors: UsageError."""
    from deployer.models.pvc import PvcAccess
    from deployer.release.kind_cluster import image as own_image
    from deployer.targets.cluster.api import Place

    pvc = pvc_store(store)
    place = Place(namespace=pvc.namespace, context=context, kubeconfig=kubeconfig)
    return PvcAccess(pvc=pvc, place=place, image=image or own_image("deployer"), timeout=timeout)
