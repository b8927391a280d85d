"""What users are told: every verb, option and exit code is documented, and the generated page is up to date."""

from __future__ import annotations

import re
import runpy
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from paths import ROOT

from deployer import errors
from deployer.cli.verb import command_of


def test_the_command_line_reference_is_what_the_verbs_say():
    generator = runpy.run_path(str(ROOT / "scripts" / "docs.py"))
    assert generator["PAGE"].read_text("utf-8") == generator["page"](), "run `make docs`"


def test_every_exit_code_is_documented_under_its_name():
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text("utf-8")
    documented = {int(code): name for code, name in re.findall(r"^\| (\d+) \| (\w*) ?\|", page, re.M)}
    kinds = [errors.DeployerError, *errors.DeployerError.__subclasses__()]
    assert documented == {0: "", 130: "", 143: ""} | {kind.exit_code: kind.__name__ for kind in kinds}


def test_links_between_pages_lead_somewhere():
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "charts").glob("*/README.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}"


def commands_in(page: Path) -> list[str]:
    """Every `deployer …` line in the code blocks of a page, continued lines joined; prose and ellipses are left out."""
    blocks = re.findall(r"^ *```[a-z]*\n(.*?)^ *```", page.read_text("utf-8"), re.M | re.S)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("deployer ") and not re.search(r"[…|]", line)]


PAGES = (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "charts").glob("*/README.md"))
COMMANDS = [(page, line) for page in PAGES for line in commands_in(page)]


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda value: str(value)[-60:])
def test_a_command_in_the_docs_can_be_called_as_it_stands(page: Path, line: str):
    words = [word.replace("$VERSION", "2") for word in shlex.split(re.split(r" > | *# ", line)[0])[1:]]
    if words[0].startswith("-"):
        assert words == ["--help"], f"{page.name}: {line}"
        return
    command = command_of(import_module(f"deployer.cli.verbs.{words[0]}").app, words.pop(0))
    while nested := getattr(command, "commands", {}):
        command = nested[words.pop(0)]
    with command.make_context("deployer", words):  # raises for what it does not know
        pass
