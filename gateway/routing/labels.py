"""Which label a request goes to: shares of traffic, sticky by a key.

Sticky requests use weighted rendezvous hashing: each label draws a number from the key, divided by its weight, and the
smallest wins. Raising one weight makes one label's numbers smaller and leaves the others alone, so keys move to that
label only, and every gateway replica decides alike without shared state.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate

from gateway.settings import Routing, Sticky


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a request asks of the model server: an exact version, a label, or the newest version (both None)."""

    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"version {self.version}"
        return f"label '{self.label}'" if self.label is not None else "newest version"


NEWEST = Choice()


class Router:
    """The weights of one model. Labels of weight 0 get nothing."""

    def __init__(self, routing: Routing) -> None:
        self.sticky: Sticky | None = routing.sticky
        self.weights: Mapping[str, float] = {label: weight for label, weight in routing.weights.items() if weight > 0}
        self._choices = {label: Choice(label=label) for label in self.weights}
        self._labels = tuple(self.weights)
        self._bounds = tuple(accumulate(self.weights.values()))

    def choose(self, key: str | None, chance: float) -> Choice:
        """The label for a sticky key, or for `chance` in [0, 1) when the request has none."""
        label = self._by_key(key) if key is not None else self._by_chance(chance)
        return self._choices[label]

    def _by_chance(self, chance: float) -> str:
        if len(self._labels) == 1:
            return self._labels[0]
        return self._labels[min(bisect_right(self._bounds, chance * self._bounds[-1]), len(self._labels) - 1)]

    def _by_key(self, key: str) -> str:
        return min(self._labels, key=lambda label: (_draw(key, label) / self.weights[label], label))


def _draw(key: str, label: str) -> float:
    """An exponentially distributed number that depends on nothing but key and label."""
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=label.encode()[:64]).digest()
    return -math.log((int.from_bytes(digest, "big") + 1) / (2**64 + 1))
