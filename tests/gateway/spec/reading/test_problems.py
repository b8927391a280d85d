"""All problems of a features.yaml at once, each with its line."""

from __future__ import annotations

import pytest

from gateway.spec import SpecProblem
from gateway.spec.reading.problems import read_all

UNREADABLE = """
features:
  - {name: a, type: float, mni: 0}
  - {name: b, type: flaot}
  - name: c
    type: float
    normalize: {mean: 0, std: 0}
input: {name: x, dtype: float32, shape: [2, 3]}
output: {name: y, kind: binary, labels: [a]}
"""
CONTRADICTING = """
features:
  - {name: a, type: float, currency: {field: b, to: EUR}}
  - {name: b, type: string}
  - {name: c, type: float}
input:
  name: x
  dtype: int32
  shape: [-1, 9]
output: {name: y, kind: raw}
ignore: [a]
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (UNREADABLE, [
            "line 3: features[0]: unknown key 'mni' for type float; did you mean 'min'?",
            "line 4: features[1].type: unknown type 'flaot'; did you mean 'float'?",
            "line 7: features[2].normalize: std 0 must be above 0; leave a constant feature without normalize",
            "line 8: input: shape [2, 3] must begin with -1, the number of records",
            "line 9: output.labels: Expected array of length >= 2",
        ]),
        (CONTRADICTING, [
            "line 11: ignore: 'a' is read by a feature",
            "line 3: feature 'a': currency.field 'b' is also a feature, and not a category",
            "line 3: feature 'a' gives fractions and input.dtype is int32; use float32 or drop the transform",
            "line 4: feature 'b' of type string cannot fill a int32 tensor; give it type category",
            "line 5: feature 'c' gives fractions and input.dtype is int32; use float32 or drop the transform",
            "line 9: input.shape [-1, 9] has 9 columns, the features fill 3 (a 1, b 1, c 1)",
        ]),
        ("features: 3", ["line 1: features: Expected array, got int"]),
        ("[1]", ["line 1: Expected object, got array"]),
        ("features: [{name: a, type: float}]\ninput: {name: x, dtype: float32, shape: [-1, 1]}\n",
         ["line 1: missing key 'output'"]),
        ("features: [{name: a, type: float}]\ninput: {name: x, dtype: float32, shape: [-1, 1]}\n"
         "output: {name: y, kind: raw}\nextra: perhaps\n", ["line 4: extra: Invalid enum value 'perhaps'"]),
    ],
)  # fmt: skip
def test_every_problem_is_reported_with_its_line(text: str, told: list[str]) -> None:
    read = read_all(text)
    assert read.spec is None
    assert [str(finding) for finding in read.findings] == told


def test_a_text_that_is_no_yaml() -> None:
    with pytest.raises(SpecProblem, match="not valid YAML"):
        read_all("features: [")
