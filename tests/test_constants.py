"""A constant means one number: whoever reads its name in two modules need not look up which one it is."""

import ast
from collections import defaultdict

from paths import ROOT

PACKAGES = ("deployer", "gateway", "tfserving")


def numbers(source: str) -> dict[str, str]:
    """The module-level constants of a module that are numbers, as they are written."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name) and target.id.isupper() and is_number(value):
            found[target.id] = ast.unparse(value)
    return found


def is_number(value: ast.expr) -> bool:
    """Whether an expression is made of numbers alone, such as 64 * 1024."""
    operations = (ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
    return all(
        isinstance(node, operations) or (isinstance(node, ast.Constant) and isinstance(node.value, int | float))
        for node in ast.walk(value)
    )


def test_two_constants_of_one_name_have_one_value() -> None:
    values: dict[str, dict[str, str]] = defaultdict(dict)
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for name, value in numbers(path.read_text("utf-8")).items():
                values[name][str(path.relative_to(ROOT))] = value
    assert {name: found for name, found in values.items() if len(set(found.values())) > 1} == {}


def test_a_number_is_found_however_it_is_written() -> None:
    source = "A = 1\nB: float = 64 * 1024\nC = -2.5\nD = 'text'\nE = other.A\nf = 3\nG: int\n"
    assert numbers(source) == {"A": "1", "B": "64 * 1024", "C": "-2.5"}
