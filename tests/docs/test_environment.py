"""docs/reference/environment.md has every environment variable that our code reads, and nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from markdown_pages import REFERENCE, Page
from paths import ROOT
from source_code import Module, keyword, modules

PAGE = Page(REFERENCE / "environment.md")
PACKAGES = ("deployer", "gateway", "tfserving")
AROUND = ("scripts", "k8s-tests", "tests", "bench")
READING = ("get", "setdefault", "pop", "getenv", "__getitem__")
STANDARD = {"PATH", "PYTHONPATH"}
"""Read by the tests to put something first on them."""


def documented(*sections: str) -> set[str]:
    return {code for section in sections for code in PAGE.table(section).codes("Variable")}


def test_every_variable_that_the_packages_read_has_its_row_and_nothing_else_has() -> None:
    read = read_by(*PACKAGES)
    ours = documented("deployer", "Model server and export")
    assert sorted(read - ours - documented("Libraries and programs")) == []
    assert sorted(ours - read) == []


def test_every_variable_that_scripts_and_tests_read_has_its_row_and_nothing_else_has() -> None:
    read = (read_by(*AROUND) | read_by_shell()) - STANDARD
    assert sorted(read ^ documented("Development")) == []


def test_an_option_tells_the_variable_that_stands_in_for_it() -> None:
    by_option = {name for module in modules("deployer/cli") for name in of_options(module)}
    assert by_option
    assert by_option <= Page(REFERENCE / "cli.md").codes


def test_the_reader_of_code_knows_every_way_to_read() -> None:
    text = (
        "NAME = 'A'\n"
        "os.environ.get(NAME); os.environ['B']; environ.setdefault('C', '1'); os.getenv('D'); 'E' in os.environ\n"
        "option = typer.Option('--f', envvar='F')\n"
        "os.environ['G'] = 'set, not read'\n"
    )
    module = Module("example.py", text)
    assert {*of_environ(module), *of_options(module)} == set("ABCDEF")


def read_by(*folders: str) -> set[str]:
    asking = [module for module in modules(*folders) if re.search(r"environ|getenv|envvar", module.text)]
    return {name for module in asking for name in (*of_environ(module), *of_options(module))}


def of_options(module: Module) -> Iterator[str]:
    """Variables that stand in for an option of a command."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield from keyword(node, "envvar")


def of_environ(module: Module) -> Iterator[str]:
    """Variables that a module asks the environment for. Errors: AssertionError where the name is not in the code."""
    names = {
        target.id: node.value
        for node in module.tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(module.tree):
        asked = asked_for(node)
        if asked is not None:
            asked = names.get(asked.id, asked) if isinstance(asked, ast.Name) else asked
            assert isinstance(asked, ast.Constant), (
                f"{module.path} reads a variable that cannot be told: {ast.unparse(asked)}"
            )
            yield str(asked.value)


def asked_for(node: ast.AST) -> ast.expr | None:
    """What stands for the name where a node reads the environment."""
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        if called in ("os.getenv", "getenv") or re.fullmatch(r"(os\.)?environ\.\w+", called):
            return node.args[0] if called.rpartition(".")[2] in READING and node.args else None
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return node.slice if ast.unparse(node.value) in ("os.environ", "environ") else None
    elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) in ("os.environ", "environ"):
        return node.left
    return None


def read_by_shell() -> set[str]:
    """Variables that a script takes from outside: those with a value for when they are absent."""
    scripts = (path for path in (ROOT / "scripts").iterdir() if path.is_file() and path.suffix != ".py")
    return {
        name
        for script in scripts
        if script.read_text("utf-8").startswith("#!/bin/sh")
        for name in re.findall(r"\$\{([A-Z][A-Z0-9_]*):?-", script.read_text("utf-8"))
    }
