"""Which model server a verb runs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deployer.targets.local.state import Engine

if TYPE_CHECKING:
    from deployer.models.proof.served import Prover

EngineOption = Annotated[
    Engine, typer.Option("--engine", help="Model server for the checks; choose the one that will serve the version.")
]
ImageOption = Annotated[str, typer.Option("--image", help="Image for --engine docker; by default that of the chart.")]


def prover(engine: Engine, image: str) -> Prover:
    """What checks versions on this engine."""
    from deployer.models.proof.served import Prover
    from deployer.targets.local.one_server import Program

    if engine is not Engine.DOCKER:
        return Prover(program=Program(engine=engine))
    from deployer.release.local import chart_image

    default, entry_point = chart_image()
    return Prover(program=Program(engine=engine, image=image or default, entry_point=entry_point))
