"""`deployer package`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployer.cli import candidates
from deployer.cli.console import console
from deployer.cli.options.pvc import StoreDirectory
from deployer.cli.verb import ModelName, Verb
from deployer.domain.store import size_text
from deployer.models import package as usecase

app = Verb()


@app.command()
def package(
    model: ModelName,
    store: StoreDirectory,
    platform: Annotated[usecase.Platform, typer.Option("--format", help="What the package is for.")],
    out: Annotated[Path, typer.Option("--output", help="Archive (sagemaker) or folder (vertex, docker) to write.")],
    version: Annotated[
        int | None, typer.Option("--version", help="By default the newest.", autocompletion=candidates.versions)
    ] = None,
    image: Annotated[
        str, typer.Option("--image", help="Server of a build context; by default that of the chart.")
    ] = "",
) -> None:
    """Write a version in the form that another platform takes: SageMaker, Vertex AI or an image.

    The files of the version are checked against its manifest, and all of them are in the package, also the feature
    spec and the manifest. `docker build` makes an image of a build context: TensorFlow Serving with the version inside.
    """
    if platform is usecase.Platform.DOCKER and not image:
        from deployer.release.local import chart_image

        image, _ = chart_image()
    request = usecase.PackageRequest(
        store=store, model=model, version=version, platform=platform, output=out, image=image
    )
    found = usecase.package(request, progress=console.progress)
    console.result(
        "Package",
        found,
        lambda: (
            f"{found.path} has version {found.version} of model {found.model}: {found.files} files, "
            f"{size_text(found.size)}"
        ),
    )
