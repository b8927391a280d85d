"""What differs between a recorded answer and an observed one, and how much that matters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from replay.cases import NOT_PLAYED, SERVER_DIED, Case, Json


class Kind(StrEnum):
    """What differs. The first two fail a case, the others only an exact replay."""

    BEHAVIOUR = "behaviour"
    """Status, code, shape or values of a body, what a server does."""
    MESSAGE = "message"
    """Only the text of an error."""
    HEADER = "header"
    TEXT = "text"
    """The same JSON in other bytes: layout, last digits."""
    TIMING = "timing"


FAILING = frozenset((Kind.BEHAVIOUR, Kind.MESSAGE))

ABSENT = "<absent>"

_MESSAGES = frozenset(("message", "error", "error_message", "body", "head"))
_OF_ANSWERS = {"headers": Kind.HEADER, "raw": Kind.TEXT, "http": Kind.TEXT, "length": Kind.TEXT, "elapsed": Kind.TIMING}
_CONTENT = frozenset(("json", "response", "metrics"))
"""Below these keys stands what a model or server says, whose names mean nothing to the harness."""

_NEAR = 1e-6
_TYPES_WITHOUT_SERIES = "types_without_series"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """`path` names the field as in ".json.predictions[0]"."""

    kind: Kind
    path: str
    want: Json
    got: Json


def judge(case: Case, want: Json, got: Json) -> list[Difference]:
    """The differences of a case that are not among those it ignores."""
    return [found for found in differences(want, got) if not _says_nothing(case, found.path)]


def _says_nothing(case: Case, path: str) -> bool:
    if path.endswith((f".{NOT_PLAYED}", f".{SERVER_DIED}")):
        return False  # no case may ignore these
    return f".{_TYPES_WITHOUT_SERIES}" in path or case.ignores(path)


def differences(want: Json, got: Json) -> Iterator[Difference]:
    """All differences, in the order of their paths."""
    yield from _between(want, got, "", Kind.BEHAVIOUR, content=False)


def _between(want: Json, got: Json, path: str, kind: Kind, *, content: bool) -> Iterator[Difference]:
    if isinstance(want, dict) and isinstance(got, dict):
        for key in sorted({*want, *got}):
            below = kind if content else _OF_ANSWERS.get(key, kind)
            yield from _between(
                want.get(key, ABSENT), got.get(key, ABSENT), f"{path}.{key}", below, content=content or key in _CONTENT
            )
    elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for position, (one, other) in enumerate(zip(want, got, strict=True)):
            yield from _between(one, other, f"{path}[{position}]", kind, content=content)
    elif not _same(want, got, kind):
        key = path.rpartition(".")[2]
        texts = isinstance(want, str) and isinstance(got, str) and ABSENT not in (want, got)
        if kind is Kind.BEHAVIOUR and texts and key in _MESSAGES:
            kind = Kind.MESSAGE
        yield Difference(kind=kind, path=path, want=want, got=got)


def _same(want: Json, got: Json, kind: Kind) -> bool:
    """Equal values of one type: 1, 1.0 and true differ. Floats may differ in the last digits, NaN equals itself."""
    if kind is Kind.TIMING and isinstance(want, int) and isinstance(got, int):
        return abs(want - got) <= max(2, want // 2)
    if isinstance(want, float) and isinstance(got, float):
        if math.isnan(want) or math.isnan(got):
            return math.isnan(want) and math.isnan(got)
        return want == got or math.isclose(want, got, rel_tol=_NEAR)
    return type(want) is type(got) and want == got
