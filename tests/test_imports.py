"""Which packages of others each part may import: a list of what is allowed, checked against every import statement.

Import contracts between our own packages are import-linter's, in pyproject.toml.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from paths import ROOT

OURS = {"deployer", "gateway", "tfserving"}

ALLOWED = {
    "deployer/domain": set[str](),
    "deployer/rollout": {"jinja2", "msgspec", "numpy", "requests"},
    "deployer/release": {"PIL", "jinja2", "matplotlib", "msgspec", "numpy", "pyarrow", "yaml"},
    "deployer/targets/cluster": {"kubernetes", "msgspec", "urllib3", "yaml"},
    "gateway/spec": {"msgspec", "numpy", "yaml"},
    "gateway/preprocess": {"msgspec", "numpy", "PIL"},
    "gateway/postprocess": {"msgspec", "numpy"},
    "gateway": {
        "google",
        "grpc",
        "grpc_health",
        "grpc_reflection",
        "hpack",
        "httptools",
        "jwt",
        "msgspec",
        "numpy",
        "opentelemetry",
        "PIL",
        "redis",
        "uvicorn",
        "uvloop",
        "yaml",
    },
    "tfserving/wire": {"google", "numpy"},
    "tfserving/client": {"google", "grpc", "msgspec", "numpy", "requests"},
}
"""Folder to what it may import besides the standard library and our own packages."""

TENSORFLOW = {
    "deployer/demo/samples": "trains the models of the demo",
    "deployer/models/export": "reads a trained model and writes a SavedModel",
    "tfserving/server/execution": "loads and runs a version",
}
"""Where a version is made or run; nothing else imports tensorflow or keras."""

UNSEEN = {
    "tzdata": "the time zones of zoneinfo where the system has none",
    "xgboost": "xgboost-cpu where there is none, on macOS",
}
"""Packages that the code needs and does not import itself."""


def imports(path: Path) -> Iterator[str]:
    """The top-level packages that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(a.value).partition(".")[0] for a in node.args if isinstance(a, ast.Constant))


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_only_what_it_may(folder: str) -> None:
    known = ALLOWED[folder] | OURS | sys.stdlib_module_names
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / folder).rglob("*.py")
        for name in imports(path)
        if name not in known
    }
    assert not found


def test_tensorflow_is_imported_only_where_a_version_is_made_or_run() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for package in OURS
        for path in (ROOT / package).rglob("*.py")
        if {"tensorflow", "keras", "tf_keras"} & set(imports(path))
    }
    assert {user for user in users if not user.startswith(tuple(TENSORFLOW))} == set()
    assert all(any(user.startswith(folder) for user in users) for folder in TENSORFLOW if "execution" not in folder)


@pytest.mark.parametrize("module", ["gateway.lifecycle", "deployer.cli.__main__", "tfserving.client"])
def test_starting_up_brings_no_tensorflow(module: str) -> None:
    code = f"import sys, {module}; sys.exit(', '.join({{'tensorflow', 'keras', 'kubernetes'}} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_package_that_is_asked_for_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {re.split(r"[^\w.-]", requirement)[0].lower() for some in lists for requirement in some}
    used = {name for package in OURS for path in (ROOT / package).rglob("*.py") for name in imports(path)}
    brought = packages_distributions()
    found = {distribution.lower() for name in used for distribution in brought.get(name, ())}
    assert sorted(wanted - found - UNSEEN.keys() - {project["name"]}) == []
