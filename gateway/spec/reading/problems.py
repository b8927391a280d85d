"""Everything that is wrong with a features.yaml at once, each with its line: for people who write one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from gateway.spec.base import SpecProblem
from gateway.spec.document import FeatureSpec, Input, NamedInput, contradictions
from gateway.spec.features import Feature
from gateway.spec.lookup import Lookup
from gateway.spec.outputs import Output
from gateway.spec.reading.places import yaml_problem
from gateway.spec.reading.strict import StrictError, convert, strangers
from gateway.spec.reading.text import Loader, load

_STEP = re.compile(r"([\w-]+)|\[(\d+)\]")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem: the line of the file, from 1 (0: of no line), where in the document, and what is wrong."""

    line: int
    path: str
    what: str

    def __str__(self) -> str:
        at = f"line {self.line}: " if self.line else ""
        return f"{at}{self.path}: {self.what}" if self.path else f"{at}{self.what}"


@dataclass(frozen=True, kw_only=True)
class Read:
    """A file that was read: the spec if there is one, the problems, and where everything stands."""

    spec: FeatureSpec | None
    findings: tuple[Finding, ...]
    lines: Lines


class Lines:
    """The lines of a YAML document by path."""

    def __init__(self, text: str | bytes) -> None:
        self._root = yaml.compose(text, Loader=Loader)

    def of(self, path: str, what: str = "") -> int:
        """The line of a path as problems name it, or of the feature or section that the problem itself names."""
        if not path:
            path = _named(what)
        if path.startswith("features: "):
            return self._feature(path.removeprefix("features: ").split(".")[0])
        if path.startswith("feature "):
            return self._feature(path.removeprefix("feature "))
        node, line = self._root, 1
        for word, index in _STEP.findall(path):
            found = _child(node, word, index)
            if found is None:
                break
            node, line = found
        return line

    def _feature(self, name: str) -> int:
        features = _child(self._root, "features", "")
        for node in getattr(features[0], "value", ()) if features else ():
            found = _child(node, "name", "")
            if found is not None and getattr(found[0], "value", None) == name:
                return int(node.start_mark.line) + 1
        return features[1] if features else 1


def read_all(text: str | bytes) -> Read:
    """The spec in a text with all its problems. Errors: SpecProblem for a text that is no YAML."""
    try:
        data, lines = load(text), Lines(text)
    except yaml.YAMLError as error:
        raise SpecProblem("", f"not valid YAML: {yaml_problem(error)}") from error
    found = [Finding(line=lines.of(path, what), path=path, what=what) for path, what in _problems(data)]
    spec = None if found else convert(data, FeatureSpec)
    return Read(spec=spec, findings=tuple(dict.fromkeys(found)), lines=lines)


@dataclass(kw_only=True)
class _Parts:
    features: list[Feature] = field(default_factory=list)
    input: Input | None = None
    inputs: dict[str, NamedInput] | None = None
    output: Output | None = None
    pass_through: tuple[str, ...] = ()
    lookup: Lookup | None = None
    ignore: tuple[str, ...] = ()


def _problems(data: object) -> Iterator[tuple[str, str]]:
    unknown = list(strangers(data, FeatureSpec))
    yield from unknown
    if not isinstance(data, Mapping) or not isinstance(data.get("features"), list):
        yield from _first(data)
        return
    parts, sound = _Parts(), True
    for index, feature in enumerate(data["features"]):
        made, problem = _part(feature, Feature, f"features[{index}]", unknown)
        yield from problem
        sound = sound and made is not None
        parts.features += [made] if made is not None else []
    for key, kind in (("input", Input), ("inputs", dict[str, NamedInput]), ("output", Output), ("lookup", Lookup)):
        if key in data:
            made, problem = _part(data[key], kind, key, unknown)
            yield from problem
            sound = sound and made is not None
            setattr(parts, key, made)
    if not sound or unknown:
        return
    rest = list(_first({**data, "features": [{"name": "x", "type": "float"}]}, shapes=False))
    yield from rest
    if rest:
        return
    parts.pass_through, parts.ignore = tuple(data.get("pass_through", ())), tuple(data.get("ignore", ()))
    yield from (("", problem) for problem in contradictions(parts))


def _part(data: object, kind: Any, path: str, unknown: list[tuple[str, str]]) -> tuple[Any, list[tuple[str, str]]]:
    """One part of the document; its first problem, unless it has an unknown key, which has been told."""
    if any(at == path or at.startswith((f"{path}.", f"{path}[")) for at, _ in unknown):
        return None, []
    try:
        return convert(data, kind), []
    except StrictError as error:
        at = error.path
        return None, [(f"{path}{'' if not at or at.startswith('[') else '.'}{at}", error.what)]


def _first(data: object, *, shapes: bool = True) -> Iterator[tuple[str, str]]:
    """The first problem of the whole; without `shapes`, only of keys that no other part has."""
    try:
        convert(data, FeatureSpec)
    except StrictError as error:
        if (
            shapes
            or error.path.split(".")[0].split("[")[0] in ("pass_through", "ignore", "extra", "statistics")
            or (not error.path and error.what.startswith("missing key"))
        ):
            yield error.path, error.what


def _named(what: str) -> str:
    """The path or feature that a problem names in its text."""
    if found := re.match(r"feature '([^']+)'", what):
        return f"feature {found[1]}"
    found = re.match(r"(inputs?\.?[\w.]*|ignore|output|lookup|features)", what)
    return found[1] if found else ""


def _child(node: Any, word: str, index: str) -> tuple[Any, int] | None:
    if index and isinstance(node, yaml.SequenceNode) and int(index) < len(node.value):
        found = node.value[int(index)]
        return found, int(found.start_mark.line) + 1
    if word and isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == word:
                return value, int(key.start_mark.line) + 1
    return None
