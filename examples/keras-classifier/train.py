"""Trains a small classifier of loan applications; writes loan.keras, and records.jsonl with records it never saw.

Records become tensors by features.yaml, as in the gateway, so preprocessing is the same in training and serving.
"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

from gateway.preprocess import compile_spec
from gateway.spec import parse_spec

LABELS = ["deny", "approve"]
SEED = 1


def applications(count: int, random: np.random.Generator) -> tuple[list[dict[str, object]], np.ndarray]:
    """Made-up records, and for each the position of its label: income and years of employment decide."""
    income = random.gamma(6, 52_000 / 6, count).round(2)
    years = random.gamma(2, 3, count).round(1)
    purpose = random.choice(["car", "home", "boat"], count)  # "boat" is not in the vocabulary
    records = [
        {"income": float(i), "employment_years": float(y), "purpose": str(p)}
        for i, y, p in zip(income, years, purpose, strict=True)
    ]
    merit = income / 52_000 + years / 12 - 0.4 * (purpose == "boat") + random.normal(0, 0.05, count)
    return records, (merit > 1.3).astype(int)


def main() -> None:
    keras.utils.set_random_seed(SEED)
    vectorize = compile_spec(parse_spec(Path("features.yaml").read_text("utf-8"))).vectorize
    records, labels = applications(2000, np.random.default_rng(SEED))

    applicant = keras.Input((5,), name="applicant")
    hidden = keras.layers.Dense(16, activation="relu")(applicant)
    model = keras.Model(applicant, {"decision": keras.layers.Dense(2, activation="softmax")(hidden)})
    model.compile(keras.optimizers.Adam(0.01), {"decision": "sparse_categorical_crossentropy"})
    model.fit(vectorize(records[200:]), {"decision": labels[200:]}, batch_size=64, epochs=15, verbose=0)

    model.save("loan.keras")
    held_out = zip(records[:200], labels[:200], strict=True)
    lines = [json.dumps({"record": record, "expected": LABELS[label]}) for record, label in held_out]
    Path("records.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
