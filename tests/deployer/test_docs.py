"""What users are told: every verb, option and exit code is documented, and the generated page is up to date."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from deployer import errors

ROOT = Path(__file__).resolve().parents[2]


def test_the_command_line_reference_is_what_the_verbs_say():
    generator = runpy.run_path(str(ROOT / "scripts" / "docs"))
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
