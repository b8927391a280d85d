"""Trains a small fraud model on made-up payments, with preprocessing of its own, as a notebook would have it.

Writes fraud.keras; records.jsonl, 300 labelled payments that it never saw; and tensors.npz, what it made of them.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import keras
import numpy as np

SEED = 3
BUCKETS = 64
PARIS = ZoneInfo("Europe/Paris")
MERCHANTS = ["grocer", "Electronics", "travel", "games", "Jewellery"]
RISK = {"grocer": -1.0, "Electronics": 0.6, "travel": 0.1, "games": 0.4, "Jewellery": 1.2}


def payments(count: int, random: np.random.Generator) -> tuple[list[dict[str, object]], np.ndarray]:
    """Records, and whether each is fraud: large amounts at night, at some merchants, without a known device."""
    records: list[dict[str, object]] = []
    fraud = np.zeros(count, dtype=int)
    for index in range(count):
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=int(random.integers(0, 365 * 86_400)))
        amount = round(float(random.lognormal(4, 1.2)), 2)
        merchant = MERCHANTS[int(random.integers(len(MERCHANTS)))]
        record: dict[str, object] = {
            "user_id": f"u{int(random.integers(10_000))}", "amount": amount, "merchant": merchant,
            "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }  # fmt: skip
        device = ["phone", "desktop", None][int(random.choice(3, p=[0.5, 0.3, 0.2]))]
        if device is not None:
            record["device"] = device
        night = math.cos(2 * math.pi * (at.astimezone(PARIS).hour - 3) / 24)
        score = 0.9 * (math.log(amount) - 4) + 1.4 * night + 1.3 * RISK[merchant] + 1.5 * (device is None) - 1.2
        fraud[index] = score + random.normal(0, 0.15) > 0
        records.append(record)
    return records, fraud


def prepared(records: list[dict[str, object]]) -> dict[str, np.ndarray]:
    """What the model is trained on. features.yaml says the same."""
    numbers = []
    for record in records:
        clock = datetime.fromisoformat(str(record["at"])).astimezone(PARIS)
        angle = clock.hour * (2 * math.pi / 24)
        device = record.get("device")
        numbers.append([
            (math.log1p(float(str(record["amount"]))) - 4) / 1.2, math.sin(angle), math.cos(angle),
            device == "phone", device == "desktop", device is None,
        ])  # fmt: skip
    words = np.array([str(record["merchant"]).lower() for record in records])
    merchants = keras.layers.Hashing(num_bins=BUCKETS)(words[:, np.newaxis])
    return {"numbers": np.array(numbers, dtype=np.float32), "merchant": np.asarray(merchants, dtype=np.int64)}


def main() -> None:
    keras.utils.set_random_seed(SEED)
    records, labels = payments(4000, np.random.default_rng(SEED))
    tensors = prepared(records)

    numbers = keras.Input((6,), name="numbers")
    merchant = keras.Input((1,), dtype="int64", name="merchant")
    word = keras.layers.Flatten()(keras.layers.Embedding(BUCKETS, 4)(merchant))
    hidden = keras.layers.Dense(24, activation="relu")(keras.layers.Concatenate()([numbers, word]))
    fraud = keras.layers.Dense(1, activation="sigmoid")(hidden)
    model = keras.Model({"numbers": numbers, "merchant": merchant}, {"fraud": fraud, "word": word})
    model.compile(keras.optimizers.Adam(0.01), {"fraud": "binary_crossentropy", "word": None})
    model.fit({name: some[300:] for name, some in tensors.items()}, {"fraud": labels[300:]},
              batch_size=64, epochs=12, verbose=0)  # fmt: skip

    model.save("fraud.keras")
    np.savez("tensors.npz", **{name: some[:300] for name, some in tensors.items()})
    expected = ["fraud" if label else "honest" for label in labels[:300]]
    lines = [
        json.dumps({"record": record, "expected": word}) for record, word in zip(records[:300], expected, strict=True)
    ]
    Path("records.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
