"""Verdicts as JUnit XML, whatever stands in them."""

from __future__ import annotations

import junit_reports
import pytest

from deployer.domain.junit import Case, Suite, xml
from deployer.domain.verdict import Verdict

HOSTILE = ["\x1b[31mred\x1b[0m", "a\x00b", "<&>\"'", "]]>", "\ud800 alone", "two\nlines\tand tabs", "😀 → ≤", "\ufffe"]


def suite(*cases: Case) -> Suite:
    return Suite(name="s", cases=cases, started=1_700_000_000.5, seconds=12345.6789)


def test_each_verdict_has_the_element_that_pipelines_know() -> None:
    found = junit_reports.cases(
        xml(suite(*(Case(group="g", name=one.value, verdict=one, text=f"because {one}") for one in Verdict)))
    )
    assert found == {
        ("g", "pass"): ("passed", "because pass"),
        ("g", "fail"): ("failure", "because fail"),
        ("g", "inconclusive"): ("failure", "because inconclusive"),
        ("g", "not judged"): ("skipped", "because not judged"),
    }


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("verdict", Verdict)
def test_no_text_breaks_the_report(text: str, verdict: Verdict) -> None:
    report = xml(
        Suite(name=text, cases=[Case(group=text, name=text, verdict=verdict, text=text)], started=0, seconds=0)
    )
    assert len(junit_reports.cases(report)) == 1


def test_a_report_without_verdicts_is_one_too() -> None:
    assert junit_reports.cases(xml(suite())) == {}
