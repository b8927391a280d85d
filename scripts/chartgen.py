"""Makes values.schema.json and the values table of README.md of every chart from its commented values.yaml, and
copies the files that charts share: each is usable alone.

A value's description is the comment above it that starts with `# --`; a line `# @schema {…}` below it narrows the
JSON Schema (draft-07) that the default implies. A map with a description is documented as a whole; a map without one
is ours, and a key that it does not list is an error.
Run by `make docs`; a test compares what is committed with what this makes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).resolve().parent.parent / "charts"
BEGIN, END = "<!-- values: made by scripts/chartgen.py -->", "<!-- end of values -->"
COPIES = {"gateway/files/predict.py": "tf-serving/files/predict.py"}
"""Copy: original. Helm gives a chart no file outside it."""
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True)
class Value:
    """One documented value: its dotted path, its default, its description and its schema."""

    path: tuple[str, ...]
    default: Any
    description: str
    schema: dict[str, Any]


def values(text: str) -> Iterator[Value]:
    """Every documented value of a values.yaml, in the order of the file. Errors: SystemExit for one without comment."""
    lines = text.splitlines()
    yield from _walk(yaml.compose(text), (), lines)


def _walk(node: yaml.MappingNode, path: tuple[str, ...], lines: list[str]) -> Iterator[Value]:
    for key, child in node.value:
        here = (*path, key.value)
        description, narrowed = _comment_above(lines, key.start_mark.line)
        if not description and isinstance(child, yaml.MappingNode) and child.value:
            yield from _walk(child, here, lines)
            continue
        if not description:
            raise SystemExit(f"{'.'.join(here)}: no `# --` comment above it")
        default = yaml.safe_load(yaml.serialize(child))
        yield Value(here, default, description, {"type": TYPES[type(default)], **narrowed})


def _comment_above(lines: list[str], row: int) -> tuple[str, dict[str, Any]]:
    comment: list[str] = []
    while row and lines[row - 1].lstrip().startswith("#"):
        row -= 1
        comment.insert(0, lines[row].strip().removeprefix("#").strip())
    words, narrowed, inside = [], {}, False
    for line in comment:
        if line.startswith("@schema "):
            narrowed, inside = json.loads(line.removeprefix("@schema ")), False
        elif line.startswith("-- "):
            words, inside = [line.removeprefix("-- ")], True
        elif inside and line:
            words.append(line)
    return " ".join(words), narrowed


def schema(found: list[Value], title: str) -> dict[str, Any]:
    """Draft-07 schema of a chart's values; `global` stays open because Helm passes it to every chart."""
    root: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"Values of the {title} chart",
        "type": "object",
        "additionalProperties": False,
        "properties": {"global": {"type": "object"}},
    }
    for value in found:
        level = root
        for part in value.path[:-1]:
            empty = {"type": "object", "additionalProperties": False, "properties": {}}
            level = level["properties"].setdefault(part, empty)
        level["properties"][value.path[-1]] = {"description": value.description, **value.schema}
    return root


def table(found: list[Value]) -> str:
    """The values as a Markdown table."""
    rows = ["| Value | Default | Meaning |", "|---|---|---|"]
    for value in found:
        default = json.dumps(value.default, ensure_ascii=False)
        shown = f"`{default}`" if len(default) <= 60 else "see values.yaml"
        rows.append(f"| `{'.'.join(value.path)}` | {shown} | {value.description.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def generate(chart: Path) -> dict[Path, str]:
    """The generated files of one chart and their text."""
    found = list(values((chart / "values.yaml").read_text()))
    readme = (chart / "README.md").read_text()
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return {
        chart / "values.schema.json": json.dumps(schema(found, chart.name), indent=1, ensure_ascii=False) + "\n",
        chart / "README.md": f"{head}{BEGIN}\n{table(found)}\n{END}{tail}",
        **{
            CHARTS / copy: (CHARTS / original).read_text()
            for copy, original in COPIES.items()
            if copy.startswith(f"{chart.name}/")
        },
    }


def main() -> int:
    for chart in sorted(p.parent for p in CHARTS.glob("*/Chart.yaml")):
        for path, text in generate(chart).items():
            path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
