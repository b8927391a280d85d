"""Trains a small model that tells circles, squares and triangles apart, on pictures that it draws.

Writes shapes.keras; records.jsonl, 120 labelled pictures as base64 text that the model never saw; and tensors.npz, what
the preprocessing below made of them.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

SEED = 7
SIZE = 24
SHAPES = ["circle", "square", "triangle"]


def pictures(count: int, random: np.random.Generator) -> tuple[list[bytes], np.ndarray]:
    """PNG files of various sizes, and the number of the shape in each."""
    files, labels = [], random.integers(len(SHAPES), size=count)
    for label in labels:
        width, height = (int(side) for side in random.integers(40, 90, size=2))
        picture = Image.new("RGB", (width, height), tuple(random.integers(150, 256, size=3).tolist()))
        radius = int(random.integers(12, 18))
        x, y = (int(random.integers(radius, side - radius + 1)) for side in (width, height))
        box, colour = (x - radius, y - radius, x + radius, y + radius), tuple(random.integers(0, 100, size=3).tolist())
        draw = ImageDraw.Draw(picture)
        if SHAPES[label] == "circle":
            draw.ellipse(box, fill=colour)
        elif SHAPES[label] == "square":
            draw.rectangle(box, fill=colour)
        else:
            draw.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=colour)
        written = io.BytesIO()
        picture.save(written, "PNG")
        files.append(written.getvalue())
    return files, labels


def prepared(files: list[bytes]) -> np.ndarray:
    """What the model is trained on. features.yaml says the same."""
    pixels = (tf.image.resize(tf.io.decode_png(file, channels=3), [SIZE, SIZE], antialias=True) for file in files)
    return np.stack([one.numpy() / 127.5 - 1 for one in pixels]).astype(np.float32)


def main() -> None:
    keras.utils.set_random_seed(SEED)
    files, labels = pictures(1500, np.random.default_rng(SEED))
    tensors = prepared(files)

    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3), name="picture"),
            keras.layers.Conv2D(12, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(24, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(len(SHAPES), activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy")
    model.fit(tensors[120:], labels[120:], batch_size=32, epochs=15, verbose=0)

    model.save("shapes.keras")
    np.savez("tensors.npz", picture=tensors[:120])
    lines = (
        json.dumps({"record": {"picture": base64.b64encode(file).decode()}, "expected": SHAPES[label]})
        for file, label in zip(files[:120], labels[:120], strict=True)
    )
    Path("records.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
