"""569 breast tumours (scikit-learn's load_breast_cancer): 30 measurements by name, malignant or benign.

The model takes normalised measurements; means and standard deviations of the training split travel in features.yaml.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployer.demo.samples.sample import FeatureSpecDocument, Holdout, Sample
from tfserving.wire.tensors import Array

INPUT, OUTPUT = "measurements", "probability"
LABELS = ["benign", "malignant"]
TUMOR_HOLDOUT = 0.25
TUMOR_SEED = 11
FOREST_TREES = 50


@dataclass(frozen=True, kw_only=True)
class _Tumors:
    """Measurements float64 [n, 30] and labels int64 [n] (1 is malignant), split; statistics of the training split."""

    names: tuple[str, ...]
    train: NDArray[np.float64]
    train_labels: NDArray[np.int64]
    holdout: NDArray[np.float64]
    holdout_labels: NDArray[np.int64]

    @property
    def mean(self) -> NDArray[np.float64]:
        return np.asarray(self.train.mean(axis=0))

    @property
    def std(self) -> NDArray[np.float64]:
        return np.asarray(self.train.std(axis=0))

    def tensor(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """Normalised measurements, as the model takes them."""
        return ((rows - self.mean) / self.std).astype(np.float32)


def tumor_v1() -> Any:
    """A linear classifier that stops learning early: the version that wants replacing."""
    return _fit(hidden=0, epochs=8)


def tumor_v2() -> Any:
    """One hidden layer, learnt to the end."""
    return _fit(hidden=32, epochs=20)


def forest() -> Any:
    """A random forest of scikit-learn on the measurements as they are: trees need no normalisation."""
    from sklearn.ensemble import RandomForestClassifier

    data = _tumors()
    trees = RandomForestClassifier(n_estimators=FOREST_TREES, random_state=TUMOR_SEED)
    return trees.fit(data.train, data.train_labels)


def forest_features() -> FeatureSpecDocument:
    """features.yaml of the forest: the same 30 numbers, not normalised."""
    names = _tumors().names
    return {
        "features": [{"name": name, "type": "float", "min": 0.0} for name in names],
        "input": {"name": "inputs", "dtype": "float32", "shape": [-1, len(names)]},
        "output": {"name": "probabilities", "kind": "classification", "labels": LABELS},
    }


def features() -> FeatureSpecDocument:
    """features.yaml: 30 required numbers with the normalisation of the training split."""
    data = _tumors()
    columns = zip(data.names, data.mean.tolist(), data.std.tolist(), strict=True)
    return {
        "features": [
            {"name": n, "type": "float", "min": 0.0, "normalize": {"mean": m, "std": s}} for n, m, s in columns
        ],
        "input": {"name": INPUT, "dtype": "float32", "shape": [-1, len(data.names)]},
        "output": {"name": OUTPUT, "kind": "binary", "labels": LABELS},
    }


def holdout() -> Holdout:
    """143 tumours that no version was trained on."""
    data = _tumors()
    return Holdout(
        records=tuple(dict(zip(data.names, row, strict=True)) for row in data.holdout.tolist()),
        expected=tuple(LABELS[label] for label in data.holdout_labels),
        inputs={INPUT: data.tensor(data.holdout)},
    )


def predicted(outputs: Mapping[str, Array]) -> list[str]:
    """ "malignant" from a probability of one half on."""
    return [LABELS[int(p >= 0.5)] for p in outputs[OUTPUT][:, 0]]


TUMOR = Sample(
    name="tumor",
    versions={1: f"{__package__}:tumor_v1", 2: f"{__package__}:tumor_v2"},
    features=features,
    holdout=holdout,
    predicted=predicted,
)


@functools.cache
def _tumors() -> _Tumors:
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    data = load_breast_cancer()
    malignant = 1 - data.target
    train, held, train_labels, held_labels = train_test_split(
        data.data, malignant, test_size=TUMOR_HOLDOUT, random_state=TUMOR_SEED, stratify=malignant
    )
    return _Tumors(
        names=tuple(name.replace(" ", "_") for name in data.feature_names),
        train=train,
        train_labels=train_labels,
        holdout=held,
        holdout_labels=held_labels,
    )


def _fit(*, hidden: int, epochs: int) -> Any:
    import keras

    keras.utils.set_random_seed(TUMOR_SEED)
    data = _tumors()
    measurements = keras.Input((len(data.names),), name=INPUT)
    layer = keras.layers.Dense(hidden, activation="relu")(measurements) if hidden else measurements
    model = keras.Model(measurements, {OUTPUT: keras.layers.Dense(1, activation="sigmoid")(layer)})
    model.compile("adam", {OUTPUT: "binary_crossentropy"})
    model.fit(data.tensor(data.train), {OUTPUT: data.train_labels}, batch_size=16, epochs=epochs, verbose=0)
    return model
