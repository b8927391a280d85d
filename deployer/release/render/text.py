"""Templates, and the two ways in which a value becomes text."""

from __future__ import annotations

import functools
import json

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.spec.text import Dumper


def quoted(value: str) -> str:
    """A string in double quotes with the escapes that text protos and YAML share."""
    return json.dumps(value, ensure_ascii=False)


def to_yaml(document: object) -> str:
    """YAML with the keys in the order of the document; the same document gives the same text."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120).rstrip("\n")


class _Dumper(Dumper):
    """Plain YAML: what occurs twice is written twice, because an alias means nothing to a person."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def fill(template: str, **facts: object) -> str:
    """A template of this package with every fact it needs, ending in one newline."""
    return _environment().get_template(template).render(facts).rstrip("\n") + "\n"


@functools.cache
def _environment() -> Environment:
    # Text protos and YAML, not HTML: `quoted` escapes what must be.
    environment = Environment(
        loader=PackageLoader("deployer.release.render"), undefined=StrictUndefined, autoescape=False
    )
    environment.filters["quoted"] = quoted
    environment.filters["yaml"] = to_yaml
    return environment
