"""A TFLite model and a forest beside each other, as the demo shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.demo import forms
from deployer.demo.samples import TUMOR
from deployer.experiment.report import folder

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> forms.Forms:
    out = tmp_path_factory.mktemp("demo")
    TUMOR.holdout().write(out / "tumor.jsonl")
    forms.publish(out, lambda _: None)
    return forms.compare(out, lambda _: None, (forms.TFLITE, forms.FOREST))


def test_tflite_and_the_forest_are_measured_on_the_same_records(found: forms.Forms) -> None:
    lite, trees = found.comparison.versions
    assert [lite.label, trees.label] == ["3 (tflite float16)", "4 (savedmodel)"]
    for one in (lite, trees):
        assert one.accuracy is not None
        assert one.accuracy > 0.9
        assert not one.failed_gates
    assert lite.size < trees.size


def test_the_picture_stands_in_the_report(found: forms.Forms, tmp_path: Path) -> None:
    (tmp_path / folder.REPORT_HTML).write_text("<h1>A</h1>\n<h2>Method</h2>\n", "utf-8")
    folder.add_picture(tmp_path, "Three forms", "a < b", found.picture.read_bytes())
    report = (tmp_path / folder.REPORT_HTML).read_text("utf-8")
    assert report.index("<h2>Three forms</h2>") < report.index("data:image/svg+xml") < report.index("<h2>Method</h2>")
    assert "a &lt; b" in report
