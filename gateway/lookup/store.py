"""What a store of features is, whichever program keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

Values = Mapping[str, object]
"""What is stored for one key, by feature; a feature that is not stored is not in it."""


class StoreFailure(Exception):
    """The store did not respond, or not in time; the message is the reason, without the address or secrets."""


class FeatureStore(Protocol):
    """Answers for many keys in one round trip."""

    async def fetch(self, keys: Sequence[str], features: Sequence[str]) -> list[Values | None]:
        """What is stored for each key; None for one that is not there. Errors: StoreFailure."""
        ...

    async def close(self) -> None:
        """Give up the connections."""
