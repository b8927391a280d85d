"""A folder of recordings: cases and how their servers are started, as plain values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import convert

T = TypeVar("T")
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Answer: TypeAlias = dict[str, Json]
"""What one step observed, in the form in which recordings keep it."""

NOT_COUNTED = "defects"
"""The group of cases in which the real server aborts or hangs: no server is asked to do that too."""

NOT_PLAYED = "harness_error"
"""The key of a response that says why a case could not be played."""

SERVER_DIED = "server_died"
"""The key of a response after which the server that many cases share was gone."""

DEFAULT_LIMIT = 20.0
"""Seconds until a request without a limit of its own is given up."""


class RecordingError(Exception):
    """A folder that cannot be read as recordings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One request or one sequence of steps.

    `steps` are still JSON: they hold placeholders whose values are known when a server runs. A case without
    `scenario` starts its server itself. `ignore` are patterns of field paths that differ between runs of one server.
    """

    id: str
    note: str
    scenario: str | None
    steps: tuple[Json, ...]
    sequence: bool
    ignore: tuple[re.Pattern[str], ...]
    has_limit: bool

    @property
    def group(self) -> str:
        """What stands before the number: "rest-json" of "rest-json-012"."""
        return self.id.rpartition("-")[0]

    @property
    def counts(self) -> bool:
        """Whether a difference is a failure."""
        return self.group != NOT_COUNTED

    @property
    def timed(self) -> bool:
        """Whether the response depends on when things happen: only such a case is played again when it fails."""
        return self.sequence or self.has_limit

    def ignores(self, path: str) -> bool:
        """Whether a difference in this field says nothing."""
        return any(pattern.search(path) for pattern in self.ignore)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A server that many cases share: what is written before, its start, what is waited for after."""

    setup: tuple[Json, ...]
    start: Json
    after_start: tuple[Json, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Cases for one server, in their order; without a scenario it is one case."""

    scenario: Scenario | None
    name: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recordings:
    """What a folder holds. `answers` is empty before anything was recorded."""

    models: Path
    cases: tuple[Case, ...]
    scenarios: dict[str, Scenario]
    answers: dict[str, Json]

    def groups(self, cases: Iterable[Case]) -> list[Group]:
        """The servers that these cases need, in the order of their first case."""
        together: dict[tuple[str, str], list[Case]] = {}
        for case in cases:
            key = (case.scenario, "") if case.scenario else ("", case.id)
            together.setdefault(key, []).append(case)
        return [
            Group(scenario=self.scenarios[name] if name else None, name=name or alone, cases=tuple(members))
            for (name, alone), members in together.items()
        ]


class _Line(msgspec.Struct, frozen=True):
    """One case as it is written; other keys are remarks."""

    id: str
    kind: Literal["rest", "grpc", "sequence"]
    note: str = ""
    scenario: str | None = None
    request: dict[str, Any] | None = None
    steps: list[dict[str, Any]] | None = None
    ignore: list[str] = []
    limit: float | None = None

    def case(self) -> Case:
        step: Json = {"op": self.kind, self.kind: self.request, "limit": self.limit or DEFAULT_LIMIT}
        return Case(
            id=self.id,
            note=self.note,
            scenario=self.scenario or None,
            steps=tuple(self.steps or ()) if self.kind == "sequence" else (step,),
            sequence=self.kind == "sequence",
            ignore=tuple(re.compile(pattern) for pattern in self.ignore),
            has_limit=self.limit is not None,
        )


class _Scenario(msgspec.Struct, frozen=True):
    setup: list[dict[str, Any]]
    start: dict[str, Any]
    after_start: list[dict[str, Any]] = []

    def scenario(self) -> Scenario:
        return Scenario(
            setup=tuple(self.setup), start={"op": "start", **self.start}, after_start=tuple(self.after_start)
        )


class _Recorded(msgspec.Struct, frozen=True):
    id: str
    answer: Any


def load(folder: Path) -> Recordings:
    """Read cases/*.jsonl, cases/scenarios.json, recorded.jsonl. Raises RecordingError."""
    try:
        written = json.loads((folder / "cases" / "scenarios.json").read_text("utf-8"))
        scenarios = {name: content.scenario() for name, content in convert(written, dict[str, _Scenario]).items()}
        cases = [line.case() for file in sorted((folder / "cases").glob("*.jsonl")) for line in _read(file, _Line)]
        recorded = folder / "recorded.jsonl"
        answers = {line.id: line.answer for line in _read(recorded, _Recorded)} if recorded.exists() else {}
    except (OSError, ValueError, msgspec.MsgspecError, re.error) as error:
        raise RecordingError(f"{folder} does not hold recordings: {type(error).__name__}: {error}") from error
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise RecordingError(f"{folder}: the case {case.id} is there twice")
        seen.add(case.id)
        if case.scenario and case.scenario not in scenarios:
            raise RecordingError(f"{folder}: the case {case.id} needs a scenario {case.scenario}, which is not there")
    if not cases:
        raise RecordingError(f"{folder} holds no cases")
    return Recordings(models=(folder / "models").resolve(), cases=tuple(cases), scenarios=scenarios, answers=answers)


def _read(file: Path, kind: type[T]) -> Iterator[T]:
    # The standard reader, because recordings hold NaN and halves of surrogate pairs.
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield convert(json.loads(line), kind)
