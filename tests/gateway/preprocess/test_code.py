"""Transforms of an installed package: found by entry point and version, given arrays, refused where they are absent."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gateway.active import activate
from gateway.postprocess.interpret import Interpreter, OutputProblem
from gateway.preprocess import Compiled, compile_spec
from gateway.preprocess.problems import RecordProblems
from gateway.settings import SettingsError
from gateway.spec import SpecProblem, parse_spec

MODULE = """
import numpy

class Bad(Exception):
    def __init__(self, problems):
        self.problems = problems

def scaled(factor=1.0):
    if factor == 0:
        raise ValueError("factor 0 makes no sense")
    def transform(values):
        bad = {index: "it must be a number" for index, value in enumerate(values["a"]) if isinstance(value, str)}
        if bad:
            raise Bad(bad)
        a, b = numpy.array(values["a"], dtype=float), numpy.array(values["b"], dtype=float)
        return numpy.stack([a * factor, a / b], axis=1)
    return transform

def bands(step=10):
    return lambda outputs: [{"band": int(row[0] // step), "raw": row, "odd": float("nan")} for row in outputs["y"]]

def short():
    return lambda outputs: []

def strange():
    return lambda outputs: [object() for row in outputs["y"]]

def wide():
    return lambda values: numpy.zeros((len(values["a"]), 3))
"""


@pytest.fixture
def package(tmp_path: Path) -> Iterator[None]:
    """`acme-features` 1.4.0, as pip would install it."""
    (tmp_path / "acme_features_of_test.py").write_text(MODULE)
    facts = tmp_path / "acme_features-1.4.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-features\nVersion: 1.4.0\n")
    (facts / "entry_points.txt").write_text(
        "[tfserving_deployer.transforms]\nscaled = acme_features_of_test:scaled\nwide = acme_features_of_test:wide\n"
        "[tfserving_deployer.interpreters]\nbands = acme_features_of_test:bands\n"
        "short = acme_features_of_test:short\nstrange = acme_features_of_test:strange\n"
    )
    sys.path.insert(0, str(tmp_path))
    yield
    sys.path.remove(str(tmp_path))
    sys.modules.pop("acme_features_of_test", None)


def compiled(more: str = "", *, version: str = "1.4.0", entry: str = "scaled") -> Compiled:
    return compile_spec(
        parse_spec(
            f"features: [{{name: f, type: code, entry: {entry}, package: acme-features=={version}, of: [a, b], "
            f"length: 2{more}}}]\n"
            "input: {name: x, dtype: float64, shape: [-1, 2]}\noutput: {name: y, kind: raw}\n"
        )
    )


@pytest.mark.usefixtures("package")
def test_a_transform_gets_whole_requests_and_its_options() -> None:
    tensor = compiled(", options: {factor: 3}").vectorize([{"a": 1, "b": 2}, {"a": 4, "b": 4}])
    assert tensor.tolist() == [[3, 0.5], [12, 1]]


@pytest.mark.usefixtures("package")
def test_its_problems_are_reported_as_all_others_are() -> None:
    subject = compiled()
    for records, told in [
        ([{"a": 1, "b": 1}, {"a": "x", "b": 1}], ["record 1: feature 'f': it must be a number"]),
        ([{"a": 1}, {"b": 1}], ["record 0: feature 'b': missing required feature",
                                "record 1: feature 'a': missing required feature"]),
        ([{"a": float("nan"), "b": 1}], ["record 0: feature 'f': transform 'scaled' made no finite number"]),
    ]:  # fmt: skip
        with pytest.raises(RecordProblems) as raised:
            subject.vectorize(records)  # type: ignore[arg-type]  # of any type
        assert [str(problem) for problem in raised.value.problems] == told


@pytest.mark.usefixtures("package")
def test_what_makes_another_shape_than_the_spec_says_is_a_fault_of_the_package() -> None:
    with pytest.raises(TypeError, match=r"transform 'wide' made float64 \[1, 3\], the spec says \[1, 2\]"):
        compiled(entry="wide").vectorize([{"a": 1, "b": 1}])


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("more", "version", "entry", "message"),
    [
        ("", "1.5.0", "scaled", "the spec was written for acme-features==1.5.0, this image has acme-features==1.4.0"),
        (
            "",
            "1.4.0",
            "scaledd",
            "this image has no transform 'scaledd' of acme-features; it has acme-features:scaled",
        ),
        (", options: {factor: 0}", "1.4.0", "scaled", "cannot be created: factor 0 makes no sense"),
        (", options: {facto: 1}", "1.4.0", "scaled", "unexpected keyword argument 'facto'"),
    ],
)
def test_what_the_image_does_not_have_is_refused_when_the_spec_is_loaded(
    more: str, version: str, entry: str, message: str
) -> None:
    with pytest.raises(SpecProblem, match=message):
        compiled(more, version=version, entry=entry)


def test_without_the_package_the_sentence_says_what_to_install() -> None:
    with pytest.raises(SpecProblem, match=r"it has none\. Install acme-features==1\.4\.0"):
        compiled()


def interpreter(entry: str = "bands", version: str = "1.4.0", more: str = "") -> Interpreter:
    spec = parse_spec(
        "features: [{name: f, type: float}]\ninput: {name: x, dtype: float64, shape: [-1, 1]}\n"
        f"output: {{name: y, kind: code, entry: {entry}, package: acme-features=={version}{more}}}\n"
    )
    return Interpreter(spec.output)


@pytest.mark.usefixtures("package")
def test_an_interpreter_gets_the_outputs_and_gives_a_value_per_record() -> None:
    subject = interpreter(more=", options: {step: 2}")
    made = subject.interpret({"y": np.array([[5.0, 1.0], [1.0, 0.0]]), "z": np.zeros(2)})
    assert [json.loads(msgspec.json.encode(one)) for one in made] == [
        {"values": {"band": 2, "raw": [5.0, 1.0], "odd": None}},
        {"values": {"band": 0, "raw": [1.0, 0.0], "odd": None}},
    ]


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("entry", "told"), [("short", "'short' gave 0 values for 1 records"), ("strange", "gave what JSON does not have")]
)
def test_what_an_interpreter_must_not_give(entry: str, told: str) -> None:
    with pytest.raises(OutputProblem, match=told):
        interpreter(entry).interpret({"y": np.zeros((1, 2))})


@pytest.mark.usefixtures("package")
def test_an_interpreter_that_the_image_does_not_have_is_refused_when_the_config_is_loaded() -> None:
    with pytest.raises(SpecProblem, match="output: this image has no interpreter 'bandz' of acme-features"):
        interpreter("bandz")
    config = (
        "version: v1\nbackends: {static: ['127.0.0.1:1']}\nmodels:\n  m:\n    specs:\n      1:\n"
        "        features: [{name: f, type: float}]\n        input: {name: x, dtype: float64, shape: [-1, 1]}\n"
        "        output: {name: y, kind: code, entry: bands, package: acme-features==2.0}\n"
    )
    with pytest.raises(SettingsError, match=r"models\.m\.specs\.1\.output: the spec was written for .*==2\.0"):
        activate(config, None)
