"""Plain data -> typed values, with errors that a person can act on: the path, what is wrong, the nearest known key."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")

_AT = re.compile(r"^(?P<what>.*) - at `(?:key in )?\$(?P<path>.*)`$", re.DOTALL)
_NO_TEXT = re.compile(r"^Expected str(?: \| null)?, got (?P<got>int|float|bool|datetime|date)$")
_ABSENT_KEY = re.compile(r"^Object missing required field (\S+)$")
_YAML_KINDS = {"int": "a number", "float": "a number", "bool": "true or false", "date": "a date", "datetime": "a time"}


class StrictError(ValueError):
    """Data that does not fit its type. `path` is empty where the document as a whole is meant."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}" if path else what)
        self.path = path
        self.what = what


def convert(data: object, into: type[T]) -> T:
    """Data as YAML or JSON give it, as a msgspec struct or a dataclass whose every unknown key is an error.

    Errors: StrictError with the path of the first value that does not fit; unknown keys and unknown `type` or `kind`
    tags come first, because a misspelt key explains most other errors.
    """
    for path, what in strangers(data, into):
        raise StrictError(path, what)
    try:
        return msgspec.convert(data, into)
    except msgspec.ValidationError as error:
        match = _AT.match(str(error))
        if match is None:
            raise StrictError("", _plain(str(error).replace("`", ""))) from error
        raise StrictError(match["path"].lstrip("."), _plain(match["what"].replace("`", ""))) from error


def _plain(what: str) -> str:
    """What a person who writes YAML can act on."""
    if match := _NO_TEXT.match(what):
        return f"{what}; put it in quotes, YAML reads it as {_YAML_KINDS.get(match['got'], match['got'])}"
    return _ABSENT_KEY.sub(r"missing key '\1'", what)


def strangers(data: object, into: type) -> Iterator[tuple[str, str]]:
    """The path of every key and tag that a type does not know, and what is wrong with it."""
    return _strangers(data, _described(into), "")


@functools.cache
def _described(kind: object) -> inspect.Type:
    """Kept, because describing the settings takes longer than reading them."""
    return inspect.type_info(kind)


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" for the known name closest to a misspelt one, or nothing when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _strangers(data: object, kind: inspect.Type, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(kind, inspect.UnionType):
        yield from _strangers_of_union(data, kind, path)
    elif isinstance(kind, (inspect.StructType, inspect.DataclassType)) and isinstance(data, Mapping):
        fields = {field.encode_name: field.type for field in kind.fields}
        tag = kind.tag_field if isinstance(kind, inspect.StructType) else None
        known = set(fields) | ({tag} if tag else set())
        tagged = f" for {tag} {data.get(tag)}" if tag else ""
        for key, value in data.items():
            if key not in known:
                yield path, f"unknown key '{key}'{tagged}{nearest(str(key), known) or f'; known: {_listed(known)}'}"
            elif key in fields:
                yield from _strangers(value, fields[key], f"{path}.{key}" if path else str(key))
    elif isinstance(kind, inspect.DictType) and isinstance(data, Mapping):
        for key, value in data.items():
            yield from _strangers(value, kind.value_type, f"{path}.{key}" if path else str(key))
    elif isinstance(kind, inspect.CollectionType) and isinstance(data, Sequence) and not isinstance(data, str):
        for index, value in enumerate(data):
            yield from _strangers(value, kind.item_type, f"{path}[{index}]")


def _strangers_of_union(data: object, kind: inspect.UnionType, path: str) -> Iterator[tuple[str, str]]:
    for member in kind.types:
        if isinstance(member, inspect.DataclassType):
            yield from _strangers(data, member, path)
    structs = [member for member in kind.types if isinstance(member, inspect.StructType)]
    if not isinstance(data, Mapping) or not structs:
        return
    tag_field = structs[0].tag_field
    if tag_field is None:
        yield from _strangers(data, structs[0], path)
        return
    by_tag = {str(member.tag): member for member in structs}
    if tag_field not in data:
        yield path, f"missing key '{tag_field}'; one of {_listed(by_tag)}"
        return
    tag = str(data[tag_field])
    if tag in by_tag:
        yield from _strangers(data, by_tag[tag], path)
    else:
        at = f"{path}.{tag_field}" if path else tag_field
        yield at, f"unknown {tag_field} '{tag}'{nearest(tag, by_tag) or f'; one of {_listed(by_tag)}'}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
