"""Where something stands in a YAML text: line and column, both from 1."""

from __future__ import annotations

import re
from typing import Any

import yaml

from gateway.spec.reading.text import Loader

_STEP = re.compile(r"([\w-]+)|\[(\d+)\]")
_STRANGER = re.compile("unknown key '([^']*)'")


def place_of(text: str | bytes, path: str, what: str = "") -> str:
    """`line 5, column 3` of the value at a path (`models[0].name`), or of the unknown key that `what` names there.

    Of the nearest value around it, if the path does not exist (`a key is missing`). Empty for a text that is no YAML.
    """
    try:
        node: Any = yaml.compose(text, Loader=Loader)
    except yaml.YAMLError:
        return ""
    if node is None:
        return ""
    mark = node.start_mark
    for word, index in _STEP.findall(path):
        found = _child(node, word, index)
        if found is None:
            break
        mark, node = found
    if (stranger := _STRANGER.match(what)) and (found := _child(node, stranger[1], "")):
        mark = found[0]
    return _shown(mark)


def yaml_problem(error: yaml.YAMLError) -> str:
    """A YAML error in one line: `line 3, column 1: did not find expected node content`."""
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if mark is None:
        return " ".join(str(error).split())
    return f"{_shown(mark)}: {error.problem}"  # type: ignore[attr-defined]  # one with a mark has a problem


def _child(node: Any, word: str, index: str) -> tuple[Any, Any] | None:
    """The mark and the node of a key or an item."""
    if index and isinstance(node, yaml.SequenceNode) and int(index) < len(node.value):
        item = node.value[int(index)]
        return item.start_mark, item
    if word and isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if str(key.value) == word:
                return key.start_mark, value
    return None


def _shown(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"
