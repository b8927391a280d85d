"""Versions, labels and weights as options: `--version digits=1,2 --label digits:canary=2 --weight digits:canary=5`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from deployer.cli.options.group import OptionGroup
from deployer.errors import UsageError
from deployer.release.render.render import Choice


@dataclass(frozen=True, kw_only=True)
class ChoiceOptions(OptionGroup):
    """What is served, and who gets how much traffic."""

    version: Annotated[
        list[str] | None,
        typer.Option(
            "--version",
            metavar="MODEL=N[,N]",
            help="Versions to serve; by default those with a label, else the newest.",
        ),
    ] = None
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="MODEL:LABEL=N", help="Version that a label points to; by default stable is the newest."
        ),
    ] = None
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight",
            metavar="MODEL:LABEL=SHARE",
            help="Share of traffic of a label; by default stable gets all of it.",
        ),
    ] = None

    def choices(self) -> dict[str, Choice]:
        """The options of a command line, by model. Errors: UsageError for one that is not of its form."""
        chosen: dict[str, Choice] = {}
        for text in self.version or ():
            model, _, numbers = text.partition("=")
            listed = tuple(_version("--version", text, number) for number in numbers.split(","))
            chosen[model] = replace(chosen.get(model, Choice()), versions=listed)
        for text in self.label or ():
            model, label, value = _labelled("--label", text)
            choice = chosen.get(model, Choice())
            chosen[model] = replace(choice, labels={**choice.labels, label: _version("--label", text, value)})
        for text in self.weight or ():
            model, label, value = _labelled("--weight", text)
            choice = chosen.get(model, Choice())
            chosen[model] = replace(choice, weights={**choice.weights, label: _share(text, value)})
        return chosen


def _labelled(option: str, text: str) -> tuple[str, str, str]:
    target, equals, value = text.rpartition("=")
    model, colon, label = target.partition(":")
    if not (equals and colon and model and label):
        raise UsageError(f"{option} {text} is not MODEL:LABEL=VALUE", hint=f"write {option} digits:canary=2")
    return model, label, value


def _version(option: str, text: str, number: str) -> int:
    if not number.isascii() or not number.isdigit():
        raise UsageError(f"{option} {text}: {number!r} is not a version number", hint="versions are 1, 2, 3 …")
    return int(number)


def _share(text: str, number: str) -> float:
    try:
        share = float(number)
    except ValueError:
        raise UsageError(f"--weight {text}: {number!r} is not a number", hint="shares are relative: 95 and 5") from None
    return int(share) if share.is_integer() else share
