"""What a replay is judged by: known failures, a second play, the floor."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from paths import ROOT
from replay.cases import Case, RecordingError, load
from replay.compare import Difference, Kind
from replay.report import Outcome, Report, known_failures


def outcome(name: str, *kinds: Kind, exact: bool = False, timed: bool = False) -> Outcome:
    case = Case(id=name, note="a note", scenario=None, steps=(), sequence=timed, ignore=(), has_limit=False)
    found = tuple(Difference(kind=kind, path=".status", want=200, got=404) for kind in kinds)
    return Outcome(case=case, answer={}, differences=found, exact=exact)


def report(*outcomes: Outcome, known: dict[str, str] | None = None, floor: float = 1.0) -> Report:
    made = Report(known=known or {}, floor=floor)
    for one in outcomes:
        made.add(one)
    return made


@pytest.mark.parametrize("kind", Kind)
def test_behaviour_and_messages_fail_a_case_and_the_rest_an_exact_one(kind: Kind) -> None:
    failing = kind in (Kind.BEHAVIOUR, Kind.MESSAGE)
    assert report(outcome("a-1", kind)).passed == (not failing)
    assert not report(outcome("a-1", kind, exact=True)).passed


def test_a_failure_is_shown_with_what_was_wanted() -> None:
    lines = list(report(outcome("a-1", Kind.BEHAVIOUR, Kind.HEADER), outcome("a-2", Kind.TEXT), outcome("a-3")).lines())
    assert lines == [
        "a-1 [behaviour+header] a note",
        "  .status: want 200 got 404",
        "differing cases by kind: behaviour 1, header 1, text 1",
        "conformance: 2 of 3 cases pass, 0 known failures, 1 others, 0 flaky; 0 cases that do not count",
    ]


def test_only_known_failures_are_forgiven_and_each_is_named() -> None:
    known = {"a-1": "a reason", "a-2": "another", "b-9": "not played"}
    made = report(outcome("a-1", Kind.BEHAVIOUR), outcome("a-2"), known=known)
    assert made.passed
    assert list(made.lines())[:2] == [
        "a-1 is known to fail: a reason",
        "a-2 passes now: take it from the list of known failures",
    ]
    made.add(outcome("a-3", Kind.MESSAGE))
    assert not made.passed


def test_defects_are_played_and_do_not_count() -> None:
    made = report(outcome("defects-001", Kind.BEHAVIOUR), outcome("a-1"))
    assert made.passed
    assert list(made.lines())[-1].endswith(
        "1 of 1 cases pass, 0 known failures, 0 others, 0 flaky; 1 cases that do not count"
    )


def test_what_passes_the_second_time_is_named_flaky() -> None:
    made = report(
        outcome("a-1", Kind.BEHAVIOUR, timed=True), outcome("a-2", Kind.BEHAVIOUR, timed=True),
        outcome("a-3", Kind.BEHAVIOUR), outcome("a-4", timed=True),
    )  # fmt: skip
    assert [case.id for case in made.to_retry()] == ["a-1", "a-2"]
    made.add_again(outcome("a-1"))
    made.add_again(outcome("a-2", Kind.MESSAGE))
    made.add_again(outcome("a-4", Kind.BEHAVIOUR, timed=True))
    assert made.flaky == {"a-1"}
    assert [failure.case.id for failure in made.failures] == ["a-2", "a-3"]
    assert "a-1 is flaky: it failed, and passed when it was played again" in list(made.lines())


@pytest.mark.parametrize(("failing", "passed"), [(1, True), (2, False)])
def test_a_floor_forgives_a_share(failing: int, passed: bool) -> None:
    outcomes = [outcome(f"a-{n}", *([Kind.BEHAVIOUR] if n < failing else [])) for n in range(10)]
    assert report(*outcomes, floor=0.9).passed == passed


def test_the_known_failures_of_the_project_are_cases_that_count() -> None:
    folder = ROOT / "tests" / "conformance"
    counting = {case.id for case in load(folder).cases if case.counts}
    known = known_failures(folder / "known.toml")
    assert counting >= known.keys()
    assert len(known) <= 4, "a new failure is a step back: mend it"


def test_the_documentation_has_the_numbers_and_the_known_failures() -> None:
    cases = load(ROOT / "tests" / "conformance").cases
    known = known_failures(ROOT / "tests" / "conformance" / "known.toml")
    counted = sum(case.counts for case in cases)
    page = (ROOT / "docs" / "reference" / "conformance.md").read_text("utf-8")
    numbers = re.findall(r"^\| ([a-z][^|]*) \| ([\d,]+) \|$", page, re.M)
    assert {what.split(" (")[0]: int(number.replace(",", "")) for what, number in numbers} == {
        "recorded": len(cases),
        "not counted": len(cases) - counted,
        "counted": counted,
        "pass": counted - len(known),
        "known failures": len(known),
    }
    listed = re.findall(r"^\| `([a-z-]+-\d+)` \| (.*) \|$", page, re.M)
    assert {name: reason.replace("`", "") for name, reason in listed} == known


@pytest.mark.parametrize("content", ['[known]\na-1 = ""', "[known]\na-1 = 3", "not toml", None])
def test_a_known_failure_needs_a_reason(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "known.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(RecordingError, match=re.escape(str(file))):
        known_failures(file)


CASE = '{"id": "a-1", "kind": "rest", "request": {}}\n'


@pytest.mark.parametrize(
    ("scenarios", "cases", "recorded", "why"),
    [
        (None, CASE, None, "FileNotFoundError"),
        ("[]", CASE, None, "ValidationError"),
        ("{}", "", None, "holds no cases"),
        ("{}", "{", None, "JSONDecodeError"),
        ("{}", '{"id": "a-1", "kind": "dance"}', None, "Invalid enum value 'dance'"),
        ("{}", CASE + CASE, None, "a-1 is there twice"),
        ("{}", CASE.replace("}\n", ', "scenario": "s"}'), None, "a scenario s, which is not there"),
        ("{}", CASE.replace("}\n", ', "ignore": ["("]}'), None, "PatternError|error: missing"),
        ("{}", CASE, '{"id": "a-1"}', "missing required field `answer`"),
    ],
)
def test_a_folder_that_holds_no_recordings(
    tmp_path: Path, scenarios: str | None, cases: str, recorded: str | None, why: str
) -> None:
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "a.jsonl").write_text(cases)
    for name, content in (("cases/scenarios.json", scenarios), ("recorded.jsonl", recorded)):
        if content is not None:
            (tmp_path / name).write_text(content)
    with pytest.raises(RecordingError, match=why):
        load(tmp_path)
