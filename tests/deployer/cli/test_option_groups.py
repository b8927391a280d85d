"""A dataclass of options is one parameter of a verb and many options of its command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from deployer.cli.options.group import OptionGroup
from deployer.cli.verb import Verb, command_of, invoke
from deployer.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the rest of the code knows, without a word of options."""

    street: str
    number: int = 1


@dataclass(frozen=True, kw_only=True)
class PlaceOptions(Place, OptionGroup):
    """The same as options."""

    street: Annotated[str, typer.Option("--street")]
    number: Annotated[int, typer.Option("--number", min=1)] = 7


seen: list[tuple[str, Place, bool]] = []
app = Verb()


@app.command()
def go(
    who: Annotated[str, typer.Argument()],
    where: PlaceOptions,
    fast: Annotated[bool, typer.Option("--fast")] = False,
) -> None:
    """Go."""
    seen.append((who, where, fast))


def test_the_options_of_a_group_stand_where_its_parameter_stands() -> None:
    assert [parameter.name for parameter in command_of(app, "status").params] == [
        *("who", "street", "number", "fast"),
        *("output", "quiet", "verbose"),
    ]


def test_a_command_gets_a_group_as_one_value_with_its_defaults() -> None:
    assert invoke(app, ["status", "ann", "--street", "Main", "--fast"]) == 0
    assert invoke(app, ["status", "bob", "--number", "3", "--street", "Side"]) == 0
    assert seen == [
        ("ann", PlaceOptions(street="Main", number=7), True),
        ("bob", PlaceOptions(street="Side", number=3), False),
    ]


def test_an_error_in_an_option_of_a_group_reads_as_any_other() -> None:
    with pytest.raises(UsageError, match="street"):
        invoke(app, ["status", "ann"])
    with pytest.raises(UsageError, match="number"):
        invoke(app, ["status", "ann", "--street", "Main", "--number", "0"])
