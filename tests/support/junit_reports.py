"""Reads a JUnit report as a pipeline does, after it was held to the schema."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import xmlschema

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))


def cases(report: bytes) -> dict[tuple[str, str], tuple[str, str]]:
    """Class and name of each test case → its element ("passed", "failure", "skipped") and its message."""
    SCHEMA.validate(report.decode())
    root = ElementTree.fromstring(report)
    found = {}
    for case in root.iter("testcase"):
        ends = [child for child in case if child.tag != "system-out"]
        said = (ends[0].tag, ends[0].get("message", "")) if ends else ("passed", case.findtext("system-out", ""))
        found[case.get("classname", ""), case.get("name", "")] = said
    suite = root.find("testsuite")
    assert suite is not None
    counted = {"tests": len(found), "failures": 0, "skipped": 0}
    for kind, _ in found.values():
        counted |= {key: counted[key] + 1 for key in counted if key.rstrip("s") == kind or key == kind}
    assert counted == {key: int(suite.get(key, "-1")) for key in counted}
    return found
