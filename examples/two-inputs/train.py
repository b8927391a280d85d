"""A model with two inputs: the words of a support ticket as counts, and facts about the customer.

`deployer export train:model` calls `model`. As a program this writes tensors.jsonl, rows that the model never saw.
"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

WORDS, FACTS, TEAMS = 12, 3, 3
SEED = 1


def tickets(count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Made-up tickets: `words` float32 [n, 12], `customer` float32 [n, 3], and the position of the right team [n]."""
    random = np.random.default_rng(seed)
    team = random.integers(0, TEAMS, count)
    words = random.poisson(0.3, (count, WORDS))
    words[np.arange(count), 4 * team + random.integers(0, 4, count)] += 2  # each team has four words of its own
    customer = random.normal(0, 1, (count, FACTS))
    customer[:, 0] += 2 * (team == 0)  # who has many invoices asks about one
    return {"words": words.astype("float32"), "customer": customer.astype("float32")}, team


def model() -> keras.Model:
    """The trained model: a softmax over the teams."""
    keras.utils.set_random_seed(SEED)
    words, customer = keras.Input((WORDS,), name="words"), keras.Input((FACTS,), name="customer")
    hidden = keras.layers.Dense(16, activation="relu")(words)
    team = keras.layers.Dense(TEAMS, activation="softmax")(keras.layers.Concatenate()([hidden, customer]))
    trained = keras.Model({"words": words, "customer": customer}, {"team": team})
    trained.compile(keras.optimizers.Adam(0.01), {"team": "sparse_categorical_crossentropy"})
    inputs, right = tickets(2000, SEED)
    trained.fit(inputs, {"team": right}, batch_size=64, epochs=10, verbose=0)
    return trained


def main() -> None:
    inputs, team = tickets(50, SEED + 1)
    rows = [{name: tensor[row].tolist() for name, tensor in inputs.items()} for row in range(len(team))]
    lines = [json.dumps({"inputs": row, "expected": int(right)}) for row, right in zip(rows, team, strict=True)]
    Path("tensors.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
