"""The keys that a document of a given type has, read from the type itself: msgspec structs and dataclasses."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from msgspec import NODEFAULT, inspect


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key: whether it must be there, and what it is when it is left out (None where it is required)."""

    required: bool
    default: Any
    words: frozenset[str] = frozenset()
    """The words that may stand there, where there is a choice of words only."""

    def fits(self, cell: str) -> bool:
        """Whether a cell of a table tells the default: `required`, the value as YAML, or words where it is empty."""
        text = cell.strip("`")
        if self.required or text == "required":
            return self.required and text == "required"
        if self.default in (None, "", (), {}, []):
            return text not in ("true", "false") and not re.match(r"-?\d", text)
        return bool(yaml.safe_load(text) == _plain(self.default))


def leaves(kind: type, *, closed: Collection[type] = ()) -> dict[str, Key]:
    """The keys at the ends of the tree, by dotted path: `a.b`, `list[].b`, `mapping.<>.b`.

    A type in `closed` is an end itself. Structs told apart by a tag have the keys of all of them, and the tag.
    """
    return dict(_fields("", inspect.type_info(kind), tuple(closed)))


def inner(paths: Collection[str]) -> set[str]:
    """Every path on the way to one of `paths`: `a.b[].c` gives `a`, `a.b`, `a.b[]`."""
    found: set[str] = set()
    for path in paths:
        parts = path.replace("[]", ".[]").split(".")
        found |= {".".join(parts[:end]).replace(".[]", "[]") for end in range(1, len(parts))}
    return found


def _fields(path: str, kind: inspect.Type, closed: tuple[type, ...]) -> Iterator[tuple[str, Key]]:
    if not isinstance(kind, inspect.StructType | inspect.DataclassType):
        raise TypeError(f"{path or 'the whole'} has no keys: {kind}")
    if isinstance(kind, inspect.StructType) and kind.tag_field is not None and isinstance(kind.tag, str):
        yield f"{path}.{kind.tag_field}".lstrip("."), Key(required=True, default=None)
    for field in kind.fields:
        default = field.default_factory() if field.default_factory is not NODEFAULT else field.default
        key = Key(required=field.required, default=None if default is NODEFAULT else default, words=_words(field.type))
        yield from _ends(f"{path}.{field.encode_name}".lstrip("."), field.type, key, closed)


def _ends(path: str, kind: inspect.Type, key: Key, closed: tuple[type, ...]) -> Iterator[tuple[str, Key]]:
    """What a value contributes: its own keys where it has some, else itself."""
    kind = kind.type if isinstance(kind, inspect.Metadata) else kind
    if isinstance(kind, inspect.UnionType):
        parts = [part for part in kind.types if _has_keys(_held(part), closed)]
        for part in parts:
            yield from _ends(path, part, key, closed)
        if not parts:
            yield path, key
    elif isinstance(kind, inspect.ListType | inspect.VarTupleType) and _has_keys(kind.item_type, closed):
        yield from _ends(f"{path}[]", kind.item_type, key, closed)
    elif isinstance(kind, inspect.DictType) and (
        _has_keys(kind.value_type, closed) or getattr(kind.value_type, "cls", None) in closed
    ):
        yield from _ends(f"{path}.<>", kind.value_type, key, closed)
    elif _has_keys(kind, closed):
        yield from _fields(path, kind, closed)
    else:
        yield path, key


def _held(kind: inspect.Type) -> inspect.Type:
    """What a mapping or a list in a union holds, which is where its keys are."""
    if isinstance(kind, inspect.DictType):
        return kind.value_type
    return kind.item_type if isinstance(kind, inspect.ListType | inspect.VarTupleType) else kind


def _has_keys(kind: inspect.Type, closed: tuple[type, ...]) -> bool:
    kind = kind.type if isinstance(kind, inspect.Metadata) else kind
    if isinstance(kind, inspect.UnionType):
        return any(_has_keys(part, closed) for part in kind.types)
    return isinstance(kind, inspect.StructType | inspect.DataclassType) and kind.cls not in closed


def _plain(value: object) -> object:
    """A value as YAML gives it back."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return yaml.safe_load(str(value))
    return value


def _words(kind: inspect.Type) -> frozenset[str]:
    if isinstance(kind, inspect.LiteralType):
        return frozenset(str(value) for value in kind.values)
    if isinstance(kind, inspect.EnumType):
        return frozenset(str(member.value) for member in kind.cls)
    return frozenset()
