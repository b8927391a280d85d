"""Every alteration of a recorded answer is found, at its place and as what it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import pytest
from paths import ROOT
from replay.cases import Case, Json, load
from replay.compare import ABSENT, Kind, differences, judge
from replay.report import Outcome

RECORDINGS = load(ROOT / "tests" / "conformance")
CASES = {case.id: case for case in RECORDINGS.cases}


def failed(name: str, answer: Json) -> bool:
    case = CASES[name]
    found = judge(case, RECORDINGS.answers[name], answer)
    return Outcome(case=case, answer=answer, differences=tuple(found)).failed


def leaves(answer: Json, path: str = "") -> Iterator[tuple[str, Callable[[Json], Json]]]:
    """Each value at the end of a path, with a function that gives the response with another value there."""
    if isinstance(answer, dict) and answer:
        for key in answer:
            for below, put in leaves(answer[key], f"{path}.{key}"):
                yield below, partial(_put_key, answer, key, put)
    elif isinstance(answer, list) and answer:
        for place in range(len(answer)):
            for below, put in leaves(answer[place], f"{path}[{place}]"):
                yield below, partial(_put_item, answer, place, put)
    else:
        yield path, lambda value: value


def _put_key(answer: dict[str, Json], key: str, put: Callable[[Json], Json], value: Json) -> Json:
    return {**answer, key: put(value)}


def _put_item(answer: list[Json], place: int, put: Callable[[Json], Json], value: Json) -> Json:
    return [*answer[:place], put(value), *answer[place + 1 :]]


@pytest.mark.parametrize("group", sorted({case.group for case in RECORDINGS.cases}))
def test_every_value_of_every_response_is_compared(group: str) -> None:
    for case in (case for case in RECORDINGS.cases if case.group == group):
        want = RECORDINGS.answers[case.id]
        assert not list(differences(want, copy.deepcopy(want)))
        for path, put in islice(leaves(want), 40):
            altered = put(["altered"])
            assert [(found.path, found.got) for found in differences(want, altered)] == [(path, ["altered"])]


ALTERED: dict[str, tuple[str, Kind, Callable[[Any], object]]] = {
    "status": ("rest-json-002", Kind.BEHAVIOUR, lambda a: a.update(status=201)),
    "value": ("rest-json-002", Kind.BEHAVIOUR, lambda a: a["json"]["outputs"].__setitem__(0, 3.00001)),
    "integer for a float": ("rest-json-002", Kind.BEHAVIOUR, lambda a: a["json"]["outputs"].__setitem__(0, 3)),
    "one value less": ("rest-json-002", Kind.BEHAVIOUR, lambda a: a["json"]["outputs"].pop()),
    "a key more": ("rest-json-002", Kind.BEHAVIOUR, lambda a: a["json"].update(more=1)),
    "a key less": ("rest-json-002", Kind.BEHAVIOUR, lambda a: a["json"].clear()),
    "no JSON": ("rest-json-002", Kind.BEHAVIOUR, lambda a: a.update(body=str(a.pop("json")))),
    "text of a REST error": ("rest-json-009", Kind.MESSAGE, lambda a: a["json"].update(error="no")),
    "header": ("rest-json-002", Kind.HEADER, lambda a: a["headers"].update({"content-type": "text/html"})),
    "header less": ("rest-json-002", Kind.HEADER, lambda a: a["headers"].pop("content-type")),
    "layout of JSON": ("rest-json-002", Kind.TEXT, lambda a: a.update(raw="{}")),
    "closed connection": ("rest-json-002", Kind.BEHAVIOUR, lambda a: (a.clear(), a.update(closed=True))),
    "code": ("batch-001", Kind.BEHAVIOUR, lambda a: a.update(code="INTERNAL")),
    "tensor": ("batch-001", Kind.BEHAVIOUR, lambda a: a["response"]["outputs"]["y"].update(float_val=[2.5])),
    "dtype": ("batch-001", Kind.BEHAVIOUR, lambda a: a["response"]["outputs"]["y"].update(dtype=2)),
    "version": ("batch-001", Kind.BEHAVIOUR, lambda a: a["response"]["model_spec"]["version"].update(value=124)),
    "unknown field": ("batch-001", Kind.BEHAVIOUR, lambda a: a["response"].update(unknown_fields=[9])),
    "text of a gRPC error": ("grpc-predict-006", Kind.MESSAGE, lambda a: a.update(message="no")),
    "no message at all": ("grpc-predict-006", Kind.BEHAVIOUR, lambda a: a.pop("message")),
    "result of a start": ("lifecycle-021", Kind.BEHAVIOUR, lambda a: a[0].update(result="ready")),
    "why a start failed": ("lifecycle-021", Kind.MESSAGE, lambda a: a[0].update(message="no")),
    "exit code": ("lifecycle-021", Kind.BEHAVIOUR, lambda a: a[0].update(exit_code=1)),
    "a step less": ("start-001", Kind.BEHAVIOUR, lambda a: a.pop()),
    "log": ("start-001", Kind.BEHAVIOUR, lambda a: a[0].pop("log_matches")),
    "state": ("configpoll-001", Kind.BEHAVIOUR, lambda a: a[1]["states"].update({"1": "LOADING"})),
    "not reached": ("configpoll-001", Kind.BEHAVIOUR, lambda a: a[1].update(reached=False)),
    "far too late": ("configpoll-001", Kind.TIMING, lambda a: a[1].update(elapsed=a[1]["elapsed"] + 60)),
    "metric's value": ("metrics-005", Kind.BEHAVIOUR, lambda a: a[-1]["metrics"]["values"].popitem()),
    "metric's type": (
        "metrics-005", Kind.BEHAVIOUR,
        lambda a: a[-1]["metrics"]["types"].update({":tensorflow:serving:request_count": "gauge"}),
    ),
    "metric's bound": (
        "metrics-005", Kind.BEHAVIOUR,
        lambda a: a[-1]["metrics"]["bounds"][":tensorflow:serving:request_latency"].pop(),
    ),
}  # fmt: skip
"""A case, what kind of difference its alteration is, and the alteration."""


@pytest.mark.parametrize("name", ALTERED)
def test_an_alteration_is_found_as_what_it_is(name: str) -> None:
    case, kind, alter = ALTERED[name]
    want = RECORDINGS.answers[case]
    answer = copy.deepcopy(want)
    alter(answer)
    assert {found.kind for found in differences(want, answer)} >= {kind}
    assert failed(case, answer) == (kind in (Kind.BEHAVIOUR, Kind.MESSAGE))
    assert not failed(case, copy.deepcopy(want))


@pytest.mark.parametrize(
    ("want", "got", "same"),
    [
        (1.0, 1.0000005, True), (1.0, 1.000002, False), (0.0, 1e-30, False), (-0.0, 0.0, True),
        (1, 1.0, False), (1, True, False), (0, False, False), (0, None, False), (5, 6, False), ("1", 1, False),
        (float("nan"), float("nan"), True), (float("nan"), 0.0, False),
        (float("inf"), float("inf"), True), (float("inf"), 1e308, False), ({}, [], False), ([], [], True),
        ({"a": None}, {}, False), (ABSENT, "text", False),
    ],
)  # fmt: skip
def test_numbers_may_differ_in_their_last_digits_and_nothing_else_may(want: Json, got: Json, same: bool) -> None:
    assert (not list(differences(want, got))) == same
    assert (not list(differences({"json": [want]}, {"json": [got]}))) == same


def test_names_of_a_model_mean_nothing_to_the_comparison() -> None:
    # A model may call an output "length", "raw" or "headers".
    for name in ("length", "raw", "headers", "http", "elapsed"):
        for above in ("json", "response"):
            (found,) = differences({above: {name: 1}}, {above: {name: 2}})
            assert found.kind is Kind.BEHAVIOUR


def test_a_case_ignores_what_it_says_and_no_more() -> None:
    ignoring = next(case for case in RECORDINGS.cases if [p.pattern for p in case.ignore] == [r"\.json|\.raw"])
    want: dict[str, Json] = {"status": 200, "json": {"a": 1}, "raw": "{}"}
    assert not judge(ignoring, want, {"status": 200, "json": {"a": 2}, "raw": "[]"})
    assert judge(ignoring, want, {**want, "status": 404})


def test_a_case_that_could_not_be_played_never_passes() -> None:
    for case in RECORDINGS.cases:
        if case.counts:
            assert failed(case.id, {"harness_error": "…"})


def test_the_order_of_the_recording_is_the_order_of_the_judgement() -> None:
    # `want` and `got` must not change places in what a reader sees.
    (found,) = differences({"status": 200}, {"status": 404})
    assert (found.path, found.want, found.got) == (".status", 200, 404)
    assert isinstance(CASES["rest-json-002"], Case)
