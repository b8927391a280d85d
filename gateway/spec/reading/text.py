"""YAML as the files of the gateway are written: by people, by `deployer`, and by Helm.

Helm writes by the rules of Go's YAML, which are not PyYAML's. It writes 0.0000001 as `1e-07`, which is text to PyYAML;
and it leaves the words `=`, `<<`, `0x_` and `2001-99-99` without quotes, over which PyYAML stumbles. Here a number is
what YAML 1.2 takes for one, and there are no moments in time; so what one of the three writes, each reads as was meant.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import yaml

YAML_DEPTH_MAX: Final = 100
"""Mappings and sequences inside each other. The parser composes them by recursion in C: too many end the process."""
ALIASED_MAX: Final = 100_000
"""Nodes that the aliases of a document may stand for in all: aliases of aliases make billions of a few kilobytes."""

if TYPE_CHECKING:
    _Fastest = yaml.SafeLoader
else:
    _Fastest = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TAG = "tag:yaml.org,2002:"
_OTHERWISE = frozenset(_TAG + name for name in ("int", "float", "timestamp", "value"))
"""What plain words are to PyYAML and not here, or by other rules here."""

_BREAKS = re.compile("[\x85\u2028\u2029]")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"""[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$
      |[-+]?[0-9]+[eE][-+]?[0-9]+$
      |[-+]?\.(?:inf|Inf|INF)$
      |\.(?:nan|NaN|NAN)$""",
    re.VERBOSE,
)


class Loader(_Fastest):
    """Reads what the module says, from a text; nesting and aliases are bounded before anything is built.

    Errors: yaml.YAMLError for a document that is nested deeper than `YAML_DEPTH_MAX`, or whose aliases expand to more
    nodes than `ALIASED_MAX`.
    """

    def __init__(self, text: str | bytes) -> None:
        _bound(text)
        super().__init__(text)


def _bound(text: str | bytes) -> None:
    """Count on the events of the parser, which need no recursion, and stop at the first that is too many."""
    open_nodes: list[tuple[str | None, int]] = []
    sizes: dict[str | None, int] = {}
    nodes = aliased = 0
    for event in yaml.parse(text, Loader=_Fastest):
        if isinstance(event, yaml.DocumentStartEvent):
            sizes, nodes, aliased = {}, 0, 0
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, nodes))
            nodes += 1
            if len(open_nodes) > YAML_DEPTH_MAX:
                raise _too_much(f"nested deeper than {YAML_DEPTH_MAX} levels", event)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = nodes - before
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise _too_much(f"alias *{event.anchor} stands inside what it names", event)
            size = sizes.get(event.anchor, 1)
            nodes += size
            aliased += size
            if aliased > ALIASED_MAX:
                raise _too_much(f"aliases stand for more than {ALIASED_MAX:,} nodes; write them out", event)


def _too_much(problem: str, event: yaml.Event) -> yaml.YAMLError:
    mark: Any = event.start_mark  # of the parser in C, which is no Mark to the type checker
    return yaml.composer.ComposerError(None, None, problem, mark)


class Dumper(yaml.SafeDumper):
    """Writes what `Loader` and every other reader take for the same: what is a number to one of them is quoted, and so
    is a character that YAML 1.1 takes for a line break and YAML 1.2 does not."""


def _text(dumper: Dumper, value: str) -> yaml.ScalarNode:
    style = '"' if _BREAKS.search(value) else None
    return dumper.represent_scalar(_TAG + "str", value, style=style)


Dumper.add_representer(str, _text)


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OTHERWISE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _class in (Loader, Dumper):
    _class.add_implicit_resolver(_TAG + "int", _INT, list("-+0123456789"))
    _class.add_implicit_resolver(_TAG + "float", _FLOAT, list("-+.0123456789"))
# As the key of a mapping, `<<` merges another one into it, for people who write so.
Loader.add_constructor(_TAG + "merge", lambda _, node: str(node.value))


def load(text: str | bytes) -> Any:
    """The document in a text. Errors: yaml.YAMLError."""
    return yaml.load(text, Loader=Loader)
