"""Markdown pages as a test wants them: headings with their anchors, tables by heading, links and fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from paths import ROOT

REFERENCE = ROOT / "docs" / "reference"
_PARSER = MarkdownIt("commonmark").enable("table")
_NOT_OURS = ("node_modules", "build", "dist")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: its Markdown text, and what stands in backticks in it."""

    text: str
    codes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table, with the text of the heading above it and what stands in backticks there.

    Each row has as many cells as `header` has names.
    """

    section: str
    section_codes: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def column(self, name: str) -> tuple[Cell, ...]:
        """The cells below a header. Errors: ValueError when there is no such column."""
        at = self.header.index(name)
        return tuple(row[at] for row in self.rows)

    def codes(self, name: str | None = None) -> list[str]:
        """Everything in backticks below a header, in order; without a name in the first column."""
        return [code for cell in self.column(name or self.header[0]) for code in cell.codes]

    def keys(self) -> dict[str, dict[str, Cell]]:
        """Each row by header, under the full paths of its keys: every path in backticks in the heading, a dot, every
        key in backticks in the first cell. `<NAME>` in a path is written `<>`.

        Errors: AssertionError for a key that stands twice.
        """
        found: dict[str, dict[str, Cell]] = {}
        for row in self.rows:
            for prefix in self.section_codes or ("",):
                for code in row[0].codes:
                    path = re.sub(r"<\w+>", "<>", f"{prefix}.{code}".lstrip("."))
                    assert path not in found, f"{path} stands twice"
                    found[path] = dict(zip(self.header, row, strict=True))
        return found


@dataclass(frozen=True)
class Page:
    """A Markdown file."""

    path: Path

    @cached_property
    def _tokens(self) -> list[Token]:
        return _PARSER.parse(self.path.read_text("utf-8"))

    @cached_property
    def headings(self) -> tuple[str, ...]:
        """Texts of all headings, without markup."""
        return tuple(_plain(inline) for opened, inline in pairwise(self._tokens) if opened.type == "heading_open")

    @cached_property
    def anchors(self) -> frozenset[str]:
        """What may stand behind `#` in a link to this page, as GitHub makes it of the headings."""
        found: list[str] = []
        for heading in self.headings:
            slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            same = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in found)
            found.append(f"{slug}-{same}" if same else slug)
        return frozenset(found)

    @cached_property
    def links(self) -> tuple[str, ...]:
        """Targets of all links and pictures."""
        return tuple(
            str(child.attrs.get("href", child.attrs.get("src")))
            for token in self._tokens
            for child in token.children or ()
            if child.type in ("link_open", "image")
        )

    @cached_property
    def blocks(self) -> tuple[tuple[str, str], ...]:
        """Language and text of every fenced block."""
        return tuple((token.info.strip(), token.content) for token in self._tokens if token.type == "fence")

    @cached_property
    def codes(self) -> frozenset[str]:
        """Everything in backticks, in text and tables."""
        return frozenset(code for token in self._tokens for code in _codes(token))

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """All tables in order."""
        return tuple(self._read_tables())

    def table(self, section: str, first: str | None = None) -> Table:
        """The only table under a heading; `first` is the name of its first column where there are several.

        Errors: AssertionError when there is not exactly one.
        """
        found = [table for table in self.tables if table.section == section and first in (None, table.header[0])]
        assert len(found) == 1, f"{self.path.name}: {len(found)} tables under {section!r}"
        return found[0]

    def keys(self, column: str) -> dict[str, dict[str, Cell]]:
        """The keys of all tables whose first column has this name. Errors: AssertionError for one that stands twice."""
        found: dict[str, dict[str, Cell]] = {}
        for table in self.tables:
            if table.header[0] == column:
                rows = table.keys()
                assert not found.keys() & rows.keys(), f"{found.keys() & rows.keys()} stand twice"
                found |= rows
        return found

    def _read_tables(self) -> Iterator[Table]:
        section = ""
        section_codes: tuple[str, ...] = ()
        rows: list[tuple[Cell, ...]] = []
        cells: list[Cell] = []
        for opened, token in pairwise(self._tokens):
            if opened.type == "heading_open":
                section, section_codes = _plain(token), _codes(token)
            elif opened.type in ("th_open", "td_open"):
                cells.append(Cell(text=token.content.strip(), codes=_codes(token)))
            elif opened.type == "tr_close":
                rows.append(tuple(cells))
                cells = []
            if token.type == "table_close":
                header = tuple(cell.text for cell in rows[0])
                yield Table(section=section, section_codes=section_codes, header=header, rows=tuple(rows[1:]))
                rows = []


def pages() -> list[Page]:
    """Every Markdown file of the repository."""
    return [Page(path) for path in sorted(_below(ROOT)) if path.suffix == ".md"]


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        hidden = path.name.startswith(".") and path.name != ".github"
        if path.is_dir() and not path.is_symlink() and not hidden and path.name not in _NOT_OURS:
            yield from _below(path)
        elif path.is_file():
            yield path


def _plain(inline: Token) -> str:
    return "".join(child.content for child in inline.children or ())


def _codes(token: Token) -> tuple[str, ...]:
    return tuple(child.content for child in token.children or () if child.type == "code_inline")
