"""Fits the price of a trip to its distance and number of bags, and writes what training made of some trips."""

from __future__ import annotations

import json

import numpy as np
import tensorflow as tf
from acme_features import distance

random = np.random.default_rng(7)
trips = [
    {
        "from": [round(float(random.uniform(48, 49)), 5), round(float(random.uniform(11, 12)), 5)],
        "to": [round(float(random.uniform(48, 49)), 5), round(float(random.uniform(11, 12)), 5)],
        "bags": int(random.integers(0, 4)),
    }
    for _ in range(200)
]
km = distance()({key: [trip[key] for trip in trips] for key in ("from", "to")})[:, 0]
bags = np.array([trip["bags"] for trip in trips], dtype=np.float64)
prices = 4.0 + 1.8 * km + 2.5 * bags + random.normal(0, 0.5, len(trips))
columns = np.stack([km, bags], axis=1).astype(np.float32)
slopes, *_ = np.linalg.lstsq(np.c_[columns, np.ones(len(trips))], prices, rcond=None)


class Price(tf.Module):
    """The fitted line."""

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="trip")])
    def serve(self, trip: tf.Tensor) -> dict[str, tf.Tensor]:
        """One price per trip."""
        weights = tf.constant(slopes[:2, np.newaxis], tf.float32)
        return {"price": tf.matmul(trip, weights) + tf.constant(slopes[2], tf.float32)}


module = Price()
tf.saved_model.save(module, "price", signatures={"serving_default": module.serve})
np.savez("tensors.npz", trip=columns)
with open("trips.jsonl", "w", encoding="utf-8") as file:
    file.writelines(json.dumps(trip) + "\n" for trip in trips)
