"""The keys of deployer.yaml in words, read from their reference page: what `deployer explain` prints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import deployer
from deployer.errors import ToolError, UsageError

REFERENCE_PAGE = "deployer-yaml.md"

_HEADING = re.compile(r"##+ (.+)")
_CODE = re.compile(r"`([^`]+)`")
_CELL = re.compile(r"(?<!\\)\|")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of deployer.yaml by its full path (`models[].name`), with its default and its meaning in words."""

    key: str
    default: str
    meaning: str


def explain(key: str = "") -> tuple[Key, ...]:
    """The key, and all keys below it; without a key, all of them.

    Errors: UsageError for an unknown key, with the nearest known one; ToolError when the page is not installed.
    """
    known = _keys(_page())
    wanted = key.rstrip(".")
    found = tuple(one for path, one in known.items() if _below(path, wanted))
    if found:
        return found
    ends = [path for path in known if path.endswith(f".{wanted}")]
    parents = {path.rsplit(".", depth)[0] for path in known for depth in range(path.count(".") + 1)}
    near = ends or get_close_matches(wanted, sorted(parents), n=1)
    hint = f"did you mean {' or '.join(near)}?" if near else "`deployer explain` lists every key"
    raise UsageError(f"deployer.yaml has no key {key}", hint=hint)


def _below(path: str, key: str) -> bool:
    plain, wanted = path.replace("[]", ""), key.replace("[]", "")
    return not wanted or plain == wanted or plain.startswith(f"{wanted}.")


def _page() -> str:
    package = Path(deployer.__file__).parent
    for folder in (package / "reference", package.parent / "docs" / "reference"):
        if (folder / REFERENCE_PAGE).is_file():
            return (folder / REFERENCE_PAGE).read_text("utf-8")
    raise ToolError(f"the reference page {REFERENCE_PAGE} is not installed", hint="install deployer again")


def _keys(page: str) -> dict[str, Key]:
    """Every row of a table whose first column is `key`, under the paths in backticks of its heading."""
    found: dict[str, Key] = {}
    prefixes: list[str] = []
    in_table = False
    for line in page.splitlines():
        if heading := _HEADING.fullmatch(line):
            prefixes = _CODE.findall(heading[1])
        cells = [cell.strip() for cell in _CELL.split(line)[1:-1]]
        in_table = len(cells) == 3 and (in_table or cells[0] == "key")
        if not in_table or not cells[0].startswith("`"):
            continue
        for path in (
            f"{prefix}.{code}" if prefix else code for prefix in prefixes or [""] for code in _CODE.findall(cells[0])
        ):
            found[path] = Key(key=path, default=_plain(cells[1]), meaning=_plain(cells[2]))
    return found


def _plain(cell: str) -> str:
    return _LINK.sub(r"\1", cell).replace("`", "").replace("\\|", "|")
