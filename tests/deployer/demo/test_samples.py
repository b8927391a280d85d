"""The models of the demo: real data, the same on every run, and version 2 better than version 1."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest

from deployer.demo.samples import DIGITS, SAMPLES, TUMOR, offline_accuracy
from deployer.domain.store import SignatureFact, TensorFact
from deployer.models.export.export import ExportRequest, export
from deployer.targets.storage.layout import ModelStore
from gateway.spec import check_signature, parse_spec

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # keras with numpy 2


def test_pictures_travel_as_png_without_loss() -> None:
    from PIL import Image

    holdout = DIGITS.holdout()
    for record, tensor in zip(holdout.records[:20], holdout.inputs["pixels"], strict=False):
        grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(str(record["image"])))))
        assert grey.shape == (8, 8)
        assert set(grey.ravel().tolist()) <= {round(level * 255 / 16) for level in range(17)}
        np.testing.assert_array_equal(grey.astype(np.float32) * np.float32(1 / 255), tensor[..., 0])


def test_normalised_measurements_follow_from_the_records_and_the_spec() -> None:
    holdout, spec = TUMOR.holdout(), TUMOR.features()
    features = spec["features"]
    assert isinstance(features, list)
    assert len(features) == 30
    for record, row in zip(holdout.records[:20], holdout.inputs["measurements"], strict=False):
        made = [(float(str(record[f["name"]])) - f["normalize"]["mean"]) / f["normalize"]["std"] for f in features]
        np.testing.assert_allclose(row, made, rtol=1e-5, atol=1e-6)


def test_the_holdout_is_one_labelled_record_a_line(tmp_path: Path) -> None:
    for name, rows in (("digits", 360), ("tumor", 143)):
        path = tmp_path / f"{name}.jsonl"
        assert SAMPLES[name].holdout().write(path) == rows
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(lines) == rows
        assert all(line.keys() == {"record", "expected"} for line in lines)
    assert {line["expected"] for line in lines} == {"benign", "malignant"}


@pytest.mark.timeout(300)
def test_version_2_is_better_and_both_carry_their_feature_spec(tmp_path: Path) -> None:
    accuracy = {}
    for name, sample in SAMPLES.items():
        sample.write_features(tmp_path / f"{name}.yaml")
        for version, source in sample.versions.items():
            exported = export(
                ExportRequest(
                    source=source, store=tmp_path, model=name, version=version, features=tmp_path / f"{name}.yaml"
                ),
                progress=lambda sentence: None,
            )
            accuracy[name, version] = offline_accuracy(exported.path, sample)
    assert accuracy["digits", 1] > 0.7
    assert accuracy["digits", 2] > accuracy["digits", 1] + 0.05
    assert accuracy["digits", 2] > 0.95
    assert accuracy["tumor", 1] > 0.8
    assert accuracy["tumor", 2] > accuracy["tumor", 1] + 0.03
    assert ModelStore(root=tmp_path, model="digits").versions() == (1, 2)


def test_the_specs_are_accepted_by_the_gateways_own_parser(tmp_path: Path) -> None:
    for sample, input_, output in (
        (DIGITS, ("pixels", (-1, 8, 8, 1)), ("probabilities", (-1, 10))),
        (TUMOR, ("measurements", (-1, 30)), ("probability", (-1, 1))),
    ):
        sample.write_features(tmp_path / "features.yaml")
        signature = SignatureFact(
            inputs={input_[0]: TensorFact(dtype="float32", shape=input_[1])},
            outputs={output[0]: TensorFact(dtype="float32", shape=output[1])},
        )
        check_signature(parse_spec((tmp_path / "features.yaml").read_text()), signature.inputs, signature.outputs)
