"""Verdicts as JUnit XML, the test report that pipelines read."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from deployer.domain.verdict import Verdict

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped: log lines of a model server have colours, for example."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One verdict: `group` is what was judged, `text` the figures or the reason, `seconds` how long it took."""

    group: str
    name: str
    verdict: Verdict
    text: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The verdicts of one rollout or experiment; `started` in seconds since 1970."""

    name: str
    cases: Sequence[Case]
    started: float
    seconds: float


def xml(suite: Suite) -> bytes:
    """The report: a testcase for each verdict. Fail and inconclusive are failures, not judged is skipped."""
    found = Counter(case.verdict for case in suite.cases)
    counts = {
        "tests": str(len(suite.cases)),
        "failures": str(found[Verdict.FAIL] + found[Verdict.INCONCLUSIVE]),
        "errors": "0",
        "time": f"{suite.seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": "deployer", **counts})
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(suite.started))
    skipped = str(found[Verdict.NOT_JUDGED])
    inner = ElementTree.SubElement(
        root, "testsuite", {"name": _clean(suite.name), **counts, "skipped": skipped, "timestamp": moment}
    )
    for case in suite.cases:
        _add(inner, case)
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _add(suite: ElementTree.Element, case: Case) -> None:
    names = {"classname": _clean(case.group), "name": _clean(case.name), "time": f"{case.seconds:.3f}"}
    element = ElementTree.SubElement(suite, "testcase", names)
    text = _clean(case.text)
    if case.verdict is Verdict.NOT_JUDGED:
        ElementTree.SubElement(element, "skipped", {"message": text})
    elif case.verdict is not Verdict.PASS:
        ElementTree.SubElement(element, "failure", {"type": str(case.verdict), "message": text}).text = text
    elif text:
        ElementTree.SubElement(element, "system-out").text = text


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
