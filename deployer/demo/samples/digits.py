"""1,797 handwritten digits of 8×8 pixels (scikit-learn's load_digits): sent as PNG, classified as 0 to 9.

The data has 17 levels of ink, 0 to 16. They become the grey values round(level * 255 / 16), which are all different,
so a PNG carries them exactly, and the gateway's `scale: 1/255` gives the model values from 0 to 1.
"""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployer.demo.samples.sample import FeatureSpecDocument, Holdout, Sample
from tfserving.wire.tensors import Array

INPUT, OUTPUT = "pixels", "probabilities"
LABELS = [str(digit) for digit in range(10)]
SCALE = 1 / 255
HOLDOUT_SHARE = 0.2
SEED = 7


@dataclass(frozen=True, kw_only=True)
class _Digits:
    """Grey values uint8 [n, 8, 8] and labels int64 [n], split once and for all."""

    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    holdout: NDArray[np.uint8]
    holdout_labels: NDArray[np.int64]


def digits_v1() -> Any:
    """A linear classifier that stops learning early: the version that wants replacing."""
    keras = _seeded_keras()
    pixels = keras.Input((8, 8, 1), name=INPUT)
    scores = keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(pixels))
    return _fit(keras.Model(pixels, {OUTPUT: scores}), epochs=10)


def digits_v2() -> Any:
    """Two hidden layers, learnt to the end."""
    return _fit(_perceptron(), epochs=25)


def digits_bad() -> Any:
    """The second version trained on shuffled labels: passes every check, predicts at random. A rollout must stop it."""
    labels = np.random.default_rng(SEED).permutation(_digits().train_labels)
    return _fit(_perceptron(), epochs=2, labels=labels)


def digits_conv() -> Any:
    """A convolutional network that looks at each picture in 13 exposures, lighter to darker, and averages.

    It is there to make a replica work: some milliseconds of CPU for a row, so that scaling can be measured.
    """
    keras = _seeded_keras()
    image = keras.Input((8, 8, 1))
    layer = image
    for filters in (32, 64, 64):
        layer = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(layer)
    layer = keras.layers.Flatten()(keras.layers.MaxPooling2D()(layer))
    one_copy = keras.Model(image, {OUTPUT: keras.layers.Dense(10, activation="softmax")(layer)})
    _fit(one_copy, epochs=4, learning_rate=0.003)
    pixels = keras.Input((8, 8, 1), name=INPUT)
    copies = [pixels * gain for gain in np.linspace(0.7, 1.3, 13).tolist()]
    together = one_copy(keras.layers.Concatenate(axis=0)(copies))[OUTPUT]
    averaged = keras.ops.mean(keras.ops.reshape(together, (len(copies), -1, 10)), axis=0)
    return keras.Model(pixels, {OUTPUT: averaged})


def features() -> FeatureSpecDocument:
    """features.yaml: one picture in, one of ten labels out."""
    image = {"width": 8, "height": 8, "channels": 1, "resize": "none", "scale": SCALE}
    return {
        "features": [{"name": "image", "type": "image", "image": image}],
        "input": {"name": INPUT, "dtype": "float32", "shape": [-1, 8, 8, 1]},
        "output": {"name": OUTPUT, "kind": "classification", "labels": LABELS, "top_k": 3},
    }


def holdout() -> Holdout:
    """360 digits that no version was trained on."""
    data = _digits()
    return Holdout(
        records=tuple({"image": _png(image)} for image in data.holdout),
        expected=tuple(LABELS[label] for label in data.holdout_labels),
        inputs={INPUT: _tensor(data.holdout)},
    )


def predicted(outputs: Mapping[str, Array]) -> list[str]:
    """The most probable label of each row."""
    return [LABELS[best] for best in outputs[OUTPUT].argmax(axis=1)]


DIGITS = Sample(
    name="digits",
    versions={1: f"{__package__}:digits_v1", 2: f"{__package__}:digits_v2"},
    features=features,
    holdout=holdout,
    predicted=predicted,
)


@functools.cache
def _digits() -> _Digits:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    levels, labels = load_digits(return_X_y=True)
    grey = np.round(levels * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
    train, held, train_labels, held_labels = train_test_split(
        grey, labels, test_size=HOLDOUT_SHARE, random_state=SEED, stratify=labels
    )
    return _Digits(train=train, train_labels=train_labels, holdout=held, holdout_labels=held_labels)


def _tensor(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    return grey[..., None].astype(np.float32) * np.float32(SCALE)


def _png(grey: NDArray[np.uint8]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _seeded_keras() -> Any:
    import keras

    keras.utils.set_random_seed(SEED)
    return keras


def _perceptron() -> Any:
    keras = _seeded_keras()
    pixels = keras.Input((8, 8, 1), name=INPUT)
    layer = keras.layers.Flatten()(pixels)
    for width in (128, 64):
        layer = keras.layers.Dense(width, activation="relu")(layer)
    return keras.Model(pixels, {OUTPUT: keras.layers.Dense(10, activation="softmax")(layer)})


def _fit(model: Any, *, epochs: int, learning_rate: float = 0.001, labels: NDArray[np.int64] | None = None) -> Any:
    import keras

    data = _digits()
    model.compile(keras.optimizers.Adam(learning_rate), {OUTPUT: "sparse_categorical_crossentropy"})
    wanted = {OUTPUT: data.train_labels if labels is None else labels}
    model.fit(_tensor(data.train), wanted, batch_size=64, epochs=epochs, verbose=0)
    return model
