"""YAML as the files of the gateway are written: by people, by `deployer`, and by Helm.

Helm writes by the rules of Go's YAML, which are not PyYAML's. It writes 0.0000001 as `1e-07`, which is text to PyYAML;
and it leaves the words `=`, `<<`, `0x_` and `2001-99-99` without quotes, over which PyYAML stumbles. Here a number is
what YAML 1.2 takes for one, and there are no moments in time; so what one of the three writes, each reads as was meant.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

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
    """Reads what the module says."""


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
