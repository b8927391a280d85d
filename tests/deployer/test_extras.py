"""A missing extra is a sentence with the line that installs it, in every program, whatever module is missing."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from paths import ROOT

from deployer.extras import EXTRAS, pip_line

BLOCKER = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""

PROGRAMS = {
    "deployer.cli experiment report x": ("hdrh", "matplotlib"),
    "deployer.cli deploy -f deployer.yaml": ("kubernetes", "urllib3"),
    "deployer.cli export m:f --store s --model m": ("tensorflow", "hpack"),
    "deployer.cli export model.txt --store s --model m": ("lightgbm",),
    "deployer.cli export model.skops --store s --model m": ("sklearn", "skops"),
    "deployer.cli export model.json --store s --model m": ("xgboost",),
    "deployer.cli dashboard": ("uvicorn",),
    "deployer.experiment.loadgen --plan p --out o": ("hdrh",),
    "deployer.experiment.loadgen.agent 127.0.0.1 0 00 1": ("hdrh",),
    "gateway --config gateway.yaml": ("uvicorn", "uvloop", "httptools", "hpack"),
    "gateway --config gateway.yaml --port 0 --admin-port 0 --grpc-port 0": ("grpc_health", "grpc_reflection"),
    "tfserving.server --port=1 --model_base_path=/m": ("hpack",),
}
"""Command line to the modules without which it cannot start."""

STARTED_BY_PROGRAMS = {
    "deployer.demo.models": "by `deployer demo`, which trains models",
    "deployer.targets.storage.agent": "in a pod, with the standard library alone",
    "gateway.admin.server": "by the gateway",
    "gateway.api.large": "by the gateway",
}
"""Programs that a user does not start: what they need, the program that starts them needs too."""

CASES = [(command, module) for command, modules in PROGRAMS.items() for module in modules]

LIBRARIES_OF_OTHERS = {
    "google",
    "grpc",
    "jinja2",
    "markupsafe",
    "msgspec",
    "numpy",
    "requests",
    "rich",
    "typer",
    "yaml",
}
"""What the distribution itself needs, so that it cannot be missing."""

PLAN = json.dumps(
    {
        "target": {"type": "records", "urls": ["http://127.0.0.1:1"], "path": "/p"},
        "load": {"type": "open", "rate": 1},
        "records": "r",
    }
)
GATEWAY_YAML = "version: v1\nmodels: {}\nbackends: {static: ['127.0.0.1:1']}\n"
DEPLOYER_YAML = "release: r\ncontext: none\nstore: s\nmodels: [{name: m}]\n"


EVERYTHING_WITHOUT_EXTRAS = """
import contextlib, importlib, io, pkgutil, sys
from deployer.extras import EXTRAS, of_import
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS.keys() - {"urllib3"}:  # requests brings urllib3
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from deployer.cli.__main__ import main
from deployer.cli.verbs import VERBS
for verb in VERBS:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        code = main([*verb.split(), "--help"])
    if code:
        print(f"deployer {verb} --help: {said.getvalue()}")
for package in ("deployer", "gateway", "tfserving"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            if of_import(error) is None:
                print(f"{module.name}: {error!r}")
"""
"""Prints what does not do without, or not with a sentence."""


def without(module: str, folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in an interpreter that does not have the module."""
    (folder / "sitecustomize.py").write_text(BLOCKER.format(module=module))
    path = os.pathsep.join((str(folder), str(ROOT)))
    return subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("command", "module"), CASES, ids=[f"{c.split()[0]}-{m}" for c, m in CASES])
def test_a_missing_library_is_a_sentence_with_the_pip_line(tmp_path: Path, command: str, module: str) -> None:
    (tmp_path / "deployer.yaml").write_text(DEPLOYER_YAML)
    for name in ("model.txt", "model.skops", "model.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "p").write_text(PLAN)
    (tmp_path / "gateway.yaml").write_text(GATEWAY_YAML)
    (tmp_path / "m.py").write_text(
        "import tensorflow as tf\ndef f():\n    module = tf.Module()\n"
        "    module.f = tf.function(lambda x: {'y': x}, input_signature=[tf.TensorSpec([None, 1])])\n"
        "    return module\n"
    )
    ran = without(module, tmp_path, command)
    said = ran.stdout + ran.stderr
    assert ran.returncode not in (0, None), said
    assert "Traceback" not in said
    assert "this is a bug" not in said
    assert "pip install" in said, said
    assert not (tmp_path / "s").exists(), "a failed export leaves nothing behind"


def test_without_any_extra_each_verb_has_its_help_and_each_module_says_what_it_needs() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", EVERYTHING_WITHOUT_EXTRAS],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr


def test_every_program_is_tried_without_what_it_needs() -> None:
    programs = set()
    for package in ("deployer", "gateway", "tfserving"):
        for path in (ROOT / package).rglob("*.py"):
            if 'if __name__ == "__main__":' in path.read_text("utf-8"):
                programs.add(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__"))
    assert programs == {command.split()[0] for command in PROGRAMS} | STARTED_BY_PROGRAMS.keys()


@pytest.mark.parametrize("module", ["deployer.experiment.loadgen.agent", "deployer.targets.storage.agent"])
def test_an_agent_without_arguments_says_which_it_takes(module: str, tmp_path: Path) -> None:
    ran = without("nothing", tmp_path, module)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"usage: python -m {module} ")


def test_every_optional_library_that_is_imported_is_in_the_table() -> None:
    imported = set()
    for path in (ROOT / "deployer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Import(names=names):
                    imported |= {name.name.partition(".")[0] for name in names}
                case ast.ImportFrom(module=str(module), level=0):
                    imported.add(module.partition(".")[0])
    ours = {"deployer", "gateway", "tfserving"}
    assert sorted(imported - set(sys.stdlib_module_names) - LIBRARIES_OF_OTHERS - ours - EXTRAS.keys()) == []


def test_each_extra_of_the_table_brings_what_the_table_says() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {
        extra: {re.split(r"[>=;<]", line)[0].strip().removesuffix("-cpu") for line in lines}
        for extra, lines in extras.items()
    }
    for module, (extra, distribution) in EXTRAS.items():
        assert distribution in names[extra], module


def test_the_line_names_the_extra_where_the_deployer_is_installed() -> None:
    assert pip_line("hdrh") in ("pip install 'tfserving-deployer[experiment]'", "pip install hdrhistogram")
