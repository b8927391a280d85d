"""A classifier of iris flowers. `deployer export train:model` calls `model`; as a program this writes holdout.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

from gateway.preprocess import compile_spec
from gateway.spec import parse_spec

EPOCHS = 60
SEED = 1
SPEC = parse_spec(Path("features.yaml").read_text("utf-8"))
NAMES = [feature.name for feature in SPEC.features]


def split() -> tuple[list[dict[str, float]], list[dict[str, float]], np.ndarray, np.ndarray]:
    """Records to train on, records held out, and for both the position of the species."""
    iris = load_iris()
    records = [dict(zip(NAMES, row, strict=True)) for row in iris.data.tolist()]
    return tuple(train_test_split(records, iris.target, test_size=0.2, random_state=SEED, stratify=iris.target))


def model() -> keras.Model:
    """The trained model."""
    keras.utils.set_random_seed(SEED)
    records, _, species, _ = split()
    measurements = keras.Input((len(NAMES),), name="measurements")
    hidden = keras.layers.Dense(16, activation="relu")(measurements)
    trained = keras.Model(measurements, {"species": keras.layers.Dense(3, activation="softmax")(hidden)})
    trained.compile(keras.optimizers.Adam(0.02), {"species": "sparse_categorical_crossentropy"})
    trained.fit(compile_spec(SPEC).vectorize(records), {"species": species}, epochs=EPOCHS, verbose=0)
    return trained


def main() -> None:
    _, held_out, _, species = split()
    labels = load_iris().target_names.tolist()
    lines = [json.dumps({"record": r, "expected": labels[s]}) for r, s in zip(held_out, species, strict=True)]
    Path("holdout.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
