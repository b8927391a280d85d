"""`deployer publish`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deployer.cli import candidates
from deployer.cli.console import console
from deployer.cli.options.engine import EngineOption, prover
from deployer.cli.options.pvc import PodOptions, StoreDirectory
from deployer.cli.verb import DryRun, ModelName, Verb
from deployer.domain.store import size_text
from deployer.targets.local.state import Engine

if TYPE_CHECKING:
    from deployer.models.publish import Published

app = Verb()


@app.command()
def publish(
    model: ModelName,
    store: StoreDirectory,
    to: Annotated[str, typer.Option("--to", metavar="pvc://NAMESPACE/PVC[/SUBPATH]", help="PVC to copy to.")],
    version: Annotated[
        list[int] | None,
        typer.Option(
            "--version",
            help="Version to copy; repeatable. By default the newest.",
            autocompletion=candidates.versions,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Copy every version of the model.")] = False,
    create: Annotated[
        str,
        typer.Option("--create", metavar="SIZE", help="Create the PVC with this size if it does not exist, e.g. 10Gi."),
    ] = "",
    access_mode: Annotated[
        str, typer.Option("--access-mode", help="Access mode of a PVC that is created.")
    ] = "ReadWriteOnce",
    storage_class: Annotated[str, typer.Option("--storage-class", help="Storage class of a PVC that is created.")] = "",
    load: Annotated[
        bool, typer.Option("--load", help="First load each version on a local model server, with its warm-up requests.")
    ] = False,
    engine: EngineOption = Engine.EMBEDDED,
    *,
    pod: PodOptions,
    dry_run: DryRun = False,
) -> None:
    """Copy versions from a store to a PVC; each becomes visible once its checksums are verified.

    If it is interrupted, no partial version is visible, and the next run continues. A number that exists with the same
    content is skipped; one with different content is an error. --timeout bounds the wait for the pod, not the copying.
    """
    from deployer.models import publish as usecase
    from deployer.targets.storage.pod import NewPvc

    request = usecase.PublishRequest(
        store=store,
        model=model,
        versions=tuple(version or ()),
        every=every,
        to=pod.access(to),
        new_pvc=NewPvc(size=create, access_mode=access_mode, storage_class=storage_class) if create else None,
        dry_run=dry_run,
        prover=prover(engine, "") if load else None,
    )
    published = usecase.publish_to_pvc(request, console.progress)
    console.result("Published", published, lambda: "\n".join(map(_sentence, published)))


def _sentence(one: Published) -> str:
    sent = f", {size_text(one.sent)} sent now" if one.outcome == "published" else ""
    return (
        f"version {one.version} of model {one.model} {_BECAME[one.outcome]}"
        f" ({one.files} files, {size_text(one.size)}{sent})"
    )


_BECAME = {
    "published": "is published",
    "already published": "is already published, with the same content",
    "would be published": "would be published",
}
