"""What the source code says, read without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

from paths import ROOT


@dataclass(frozen=True)
class Module:
    """A Python file, by its path from the root of the repository."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.text)


@cache
def modules(*packages: str) -> tuple[Module, ...]:
    """Every module below these folders, generated messages left out."""
    files = (path for package in packages for path in sorted((ROOT / package).rglob("*.py")))
    return tuple(
        Module(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
        for path in files
        if not path.name.endswith("_pb2.py")
    )


def strings(node: ast.AST) -> Iterator[str]:
    """Every text that stands in this part of a program, bytes as text."""
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str | bytes):
            yield child.value if isinstance(child.value, str) else child.value.decode("latin-1")


def calls(module: Module, called: str = "") -> Iterator[ast.Call]:
    """Every call, or those of what ends with `called`: `environ.get` finds `os.environ.get(…)`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and (not called or f".{ast.unparse(node.func)}".endswith(f".{called}")):
            yield node


def keyword(call: ast.Call, name: str) -> Iterator[str]:
    """The texts of a keyword argument of a call."""
    for given in call.keywords:
        if given.arg == name:
            yield from strings(given.value)
