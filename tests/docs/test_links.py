"""Every link within the repository leads to a file, and to a heading of it."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from markdown_pages import Page, pages
from paths import ROOT

PAGES = pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Page) -> None:
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = page.path.parent / unquote(parts.path) if parts.path else page.path
        assert target.exists(), f"{link}: there is no such file"
        assert target.resolve().is_relative_to(ROOT), f"{link}: leads out of the repository"
        if parts.fragment:
            anchors = Page(target).anchors
            assert parts.fragment in anchors, f"{link}: {target.name} has {', '.join(sorted(anchors))}"


def test_every_page_of_the_documentation_is_reached_from_its_index() -> None:
    reached = {(ROOT / "docs" / "README.md").resolve()}
    while (
        more := {
            (path.parent / unquote(urlsplit(link).path)).resolve()
            for path in reached
            for link in Page(path).links
            if link.split("#")[0].endswith(".md") and not urlsplit(link).scheme
        }
        - reached
    ):
        reached |= more
    assert sorted(path for path in (ROOT / "docs").rglob("*.md") if path.resolve() not in reached) == []
