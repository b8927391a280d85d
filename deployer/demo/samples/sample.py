"""What a sample consists of: models to export, a feature spec, and labelled records that no model was trained on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from deployer.models.export.samples import Inputs
from deployer.models.export.sources.library import tensorflow
from tfserving.wire.tensors import Array

FeatureSpecDocument = Mapping[str, object]
"""features.yaml before it is text."""


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """Labelled records, and the tensors that preprocessing must make of them (computed here from the raw data).

    `records` and `expected` run in parallel with the rows of `inputs`.
    """

    records: tuple[Mapping[str, object], ...]
    expected: tuple[str, ...]
    inputs: Inputs

    def write(self, path: Path) -> int:
        """Write one `{"record": …, "expected": …}` a line; return the number of lines."""
        pairs = zip(self.records, self.expected, strict=True)
        path.write_text("".join(json.dumps({"record": r, "expected": e}) + "\n" for r, e in pairs), "utf-8")
        return len(self.records)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One model of the demo. `versions` maps a version number to the source for `deployer export`.

    `predicted` turns the output tensors of the model into labels, one per row.
    """

    name: str
    versions: Mapping[int, str]
    features: Callable[[], FeatureSpecDocument]
    holdout: Callable[[], Holdout]
    predicted: Callable[[Mapping[str, Array]], list[str]]

    def write_features(self, path: Path) -> None:
        """Write features.yaml."""
        path.write_text(yaml.safe_dump(self.features(), sort_keys=False, width=120), "utf-8")


def offline_accuracy(version_dir: Path, sample: Sample, *, signature: str = "serving_default") -> float:
    """Share of the holdout that the exported SavedModel gets right, without any server in between, from 0 to 1."""
    holdout = sample.holdout()
    function = tensorflow().saved_model.load(str(version_dir)).signatures[signature]
    outputs = function(**{name: tensorflow().constant(array) for name, array in holdout.inputs.items()})
    labels = sample.predicted({name: np.asarray(value) for name, value in outputs.items()})
    return float(np.mean([label == wanted for label, wanted in zip(labels, holdout.expected, strict=True)]))
