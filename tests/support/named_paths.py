"""Paths of this repository that a page of the documentation names."""

from __future__ import annotations

import re

from paths import ROOT

_CODE = re.compile(r"`([^`\s]+)`")


def named_paths(text: str) -> list[str]:
    """Words in backquotes that begin like a path from the root: `docs/README.md`, `deployer/models`, `Makefile`.

    Not those that git ignores: whether they are there depends on what has been run.
    """
    made = {line.strip("/") for line in (ROOT / ".gitignore").read_text("utf-8").split()}
    tops = {entry.name for entry in ROOT.iterdir()} - made
    words = (word.removesuffix("/") for word in _CODE.findall(text))
    return [word for word in words if word.partition("/")[0] in tops and not re.search(r"[A-Z]{4,}\.py|=|\(", word)]


def absent_paths(text: str) -> list[str]:
    """Those of them that are not there. A path may have `*` in it."""
    return [path for path in named_paths(text) if not any(ROOT.glob(path))]
