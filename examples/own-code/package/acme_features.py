"""What training and the gateway share: the distance of a trip, and the band of a price."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

EARTH_KM = 6371.0088


class BadValues(ValueError):
    """Values that cannot be used: `problems` maps the record, from 0, to the reason for the client."""

    def __init__(self, problems: Mapping[int, str]) -> None:
        super().__init__(str(problems))
        self.problems = problems


def distance(unit: str = "km") -> Callable[[Mapping[str, Sequence[Any]]], Any]:
    """A transform: the great-circle distance of two places `[latitude, longitude]`, one column."""
    scale = {"km": 1.0, "mile": 1 / 1.609344}[unit]

    def transform(values: Mapping[str, Sequence[Any]]) -> Any:
        bad = {
            record: f"{key} must be [latitude, longitude] in degrees"
            for key, places in values.items()
            for record, place in enumerate(places)
            if not _is_place(place)
        }
        if bad:
            raise BadValues(bad)
        start, end = (np.radians(np.array(places, dtype=np.float64)) for places in values.values())
        half = (end - start) / 2
        chord = np.sin(half[:, 0]) ** 2 + np.cos(start[:, 0]) * np.cos(end[:, 0]) * np.sin(half[:, 1]) ** 2
        return (2 * EARTH_KM * scale * np.arcsin(np.sqrt(chord)))[:, np.newaxis]

    return transform


def bands(step: float = 10.0) -> Callable[[Mapping[str, Any]], list[dict[str, Any]]]:
    """An interpreter: the price, and the band of `step` in which it lies."""

    def interpret(outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{"price": round(price, 2), "band": int(price // step)} for price in outputs["price"][:, 0].tolist()]

    return interpret


def _is_place(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(one, int | float) and not isinstance(one, bool) and abs(one) <= 180 for one in value)
    )
