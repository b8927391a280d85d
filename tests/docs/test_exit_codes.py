"""docs/reference/exit-codes.md has every exit code under its name, and nothing else."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from markdown_pages import REFERENCE, Page

from deployer import errors
from gateway.__main__ import Exit as GatewayExit
from tfserving.server.lifecycle import Exit as ModelServerExit

PAGE = Page(REFERENCE / "exit-codes.md")
WITHOUT_ERROR = {0: "", **{128 + number: "" for number in (signal.SIGINT, signal.SIGTERM)}}


def documented(section: str) -> dict[int, str]:
    table = PAGE.table(section)
    return {int(code.text): name.text for code, name in zip(table.column("Code"), table.column("Name"), strict=True)}


def kinds(root: type[errors.DeployerError]) -> Iterator[type[errors.DeployerError]]:
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


OWN = [kind for kind in kinds(errors.DeployerError) if "exit_code" in vars(kind)]


def test_every_exit_code_of_deployer_has_its_row_and_nothing_else_has() -> None:
    assert documented("deployer") == WITHOUT_ERROR | {kind.exit_code: kind.__name__ for kind in OWN}


def test_the_tree_that_opens_the_errors_module_says_the_same() -> None:
    for kind in OWN:
        assert any(kind.__name__ in line and str(kind.exit_code) in line for line in str(errors.__doc__).splitlines())


def test_every_exit_code_of_the_gateway_has_its_row_and_nothing_else_has() -> None:
    assert documented("Gateway") == {code.value: code.name for code in GatewayExit}


def test_every_exit_code_of_the_model_server_has_its_row_and_nothing_else_has() -> None:
    assert documented("Model server") == {code.value: code.name for code in ModelServerExit}
