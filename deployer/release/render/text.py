"""Templates, and quoting of values for text protos and YAML."""

from __future__ import annotations

import functools
import json

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.spec.reading.text import Dumper


def quoted(value: str) -> str:
    """A string in double quotes, with escapes that are valid in text protos and in YAML."""
    return json.dumps(value, ensure_ascii=False)


def to_yaml(document: object) -> str:
    """YAML with the keys in the order of the document; deterministic."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120).rstrip("\n")


class _Dumper(Dumper):
    """Plain YAML without aliases, because people read it."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def fill(template: str, **facts: object) -> str:
    """Render a template of this package; the text ends with one newline."""
    return _environment().get_template(template).render(facts).rstrip("\n") + "\n"


@functools.cache
def _environment() -> Environment:
    # Text protos and YAML, not HTML: `quoted` does the escaping.
    environment = Environment(
        loader=PackageLoader("deployer.release.render"), undefined=StrictUndefined, autoescape=False
    )
    environment.filters["quoted"] = quoted
    environment.filters["yaml"] = to_yaml
    return environment
