"""The decisions' pages: every one is linked, and the count of h2spec is that of the list that `make h2spec` keeps."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", sorted((DOCS / "decisions").glob("*.md")), ids=lambda page: page.stem)
def test_every_decision_is_linked_and_dated(page: Path) -> None:
    assert f"(decisions/{page.name})" in (DOCS / "README.md").read_text("utf-8")
    assert page.read_text("utf-8").splitlines()[2].startswith(page.name[:10])


@pytest.mark.parametrize("page", ["decisions/2026-11-26-http2.md", "reference/model-server.md"])
def test_the_count_of_h2spec_is_the_one_that_is_kept(page: str) -> None:
    kept = (ROOT / "tests" / "conformance" / "h2spec-known-failures.txt").read_text("utf-8").splitlines()
    found = Counter(line.partition(" ")[0] for line in kept if line.startswith(("failed ", "skipped ")))
    (cases,) = (int(line.removesuffix(" cases")) for line in kept if line.endswith(" cases"))
    passed = cases - found.total()
    text = " ".join((DOCS / page).read_text("utf-8").replace("*", "").split())
    assert re.search(
        rf"\b{passed} of {cases} cases pass, {found['failed']} fail, {found['skipped']} are skipped"
        rf"|the {cases} cases of h2spec {passed} pass, {found['failed']} fail and {found['skipped']} are skipped",
        text,
    )
