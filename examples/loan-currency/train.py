"""Trains a small loan model on made-up applications, whose incomes come in several currencies.

Writes loan.keras; rates.json, a table of exchange rates; records.jsonl, 300 labelled applications that the model never
saw; and tensors.npz, what the preprocessing below made of them.
"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

SEED = 5
RATES = {"USD": 1.0, "EUR": 0.92, "GBP": 0.79, "JPY": 149.5}
PURPOSES = ["car", "home", "study"]


def applications(count: int, random: np.random.Generator) -> tuple[list[dict[str, object]], np.ndarray]:
    """Records, and whether the loan was paid back."""
    records: list[dict[str, object]] = []
    paid = np.zeros(count, dtype=int)
    for index in range(count):
        dollars = float(random.lognormal(11, 0.5))
        currency = list(RATES)[int(random.integers(len(RATES)))]
        years, purpose = int(random.integers(0, 30)), PURPOSES[int(random.integers(len(PURPOSES)))]
        record = {"income": round(dollars * RATES[currency], 2), "employment_years": years, "purpose": purpose}
        if currency != "USD":  # dollars are meant where no currency is given
            record["currency"] = currency
        records.append(record)
        score = (np.log(dollars) - 11) / 0.5 + 0.08 * (years - 12) + 0.6 * (purpose == "home")
        paid[index] = score + random.normal(0, 0.1) > 0
    return records, paid


def prepared(records: list[dict[str, object]]) -> np.ndarray:
    """What the model is trained on. features.yaml says the same."""
    return np.array(
        [
            [
                (np.log1p(float(str(one["income"])) / RATES[str(one.get("currency", "USD"))]) - 11) / 0.5,
                float(str(one["employment_years"])) / 30,
                *(float(one["purpose"] == purpose) for purpose in PURPOSES),
            ]
            for one in records
        ],
        dtype=np.float32,
    )


def main() -> None:
    keras.utils.set_random_seed(SEED)
    records, paid = applications(3000, np.random.default_rng(SEED))
    tensors = prepared(records)

    model = keras.Sequential(
        [
            keras.Input((5,), name="applicant"),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid", name="paid"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    model.fit(tensors[300:], paid[300:], batch_size=64, epochs=12, verbose=0)

    model.save("loan.keras")
    np.savez("tensors.npz", applicant=tensors[:300])
    Path("rates.json").write_text(json.dumps({"base": "USD", "rates": RATES}) + "\n", "utf-8")
    lines = (
        json.dumps({"record": record, "expected": "approve" if label else "deny"})
        for record, label in zip(records[:300], paid[:300], strict=True)
    )
    Path("records.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
