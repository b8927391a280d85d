"""docs/reference/client.md has every class and every call of the client with its parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from markdown_pages import REFERENCE, Page

from tfserving import client

PAGE = Page(REFERENCE / "client.md")
CALLS = {re.split(r"\(", row[0].codes[0])[0]: row for row in PAGE.table("The client", "call").rows}
CLASSES = {name for name in client.__all__ if name.endswith("Client")}
LIFE = {"close"}
"""Of a connection, and no call to a server."""


def test_every_class_has_its_place_and_nothing_else_has() -> None:
    assert set(PAGE.table("The client", "class").codes()) == CLASSES


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_call_has_its_row_and_nothing_else_has(name: str) -> None:
    kind = getattr(client, name)
    offered = {call for call in vars(kind) if not call.startswith("_")} - LIFE
    column = 2 if "Rest" in name else 1
    assert offered == {call for call, row in CALLS.items() if row[column].text != "no"}


@pytest.mark.parametrize("name", ["Client", "AsyncClient"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_takes_what_its_row_says(name: str, call: str) -> None:
    assert CALLS[call][0].codes[0] == written(call, getattr(getattr(client, name), call))


def written(call: str, function: Callable[..., Any]) -> str:
    """A call as the page writes it: `timeout` left out, as all have it; a name with `=` may be left out."""
    parts = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.name != "timeout":
            default = parameter.default
            if default is inspect.Parameter.empty:
                parts.append(parameter.name)
            elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                parts.append(f"{parameter.name}=")
            else:
                parts.append(f"{parameter.name}={default!r}".replace("'", '"'))
    return f"{call}({', '.join(parts)})"
