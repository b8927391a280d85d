"""Somebody who has shown who they are, with what they may do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from gateway.errors import Forbidden, TooManyRequests


class Bucket:
    """A token bucket: `rate` requests a second on average, up to `burst` at once. `time` is in seconds."""

    def __init__(self, rate: float, burst: int, time: Callable[[], float]) -> None:
        self.rate, self.burst = rate, burst
        self._time = time
        self._left, self._at = float(burst), time()

    def take(self) -> float:
        """Take one; seconds until there is one when there is none, else 0."""
        now = self._time()
        self._left = min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self.rate


class Caller:
    """`name` goes to the log, `group` to metrics: it comes from a file and not from a client. `models` are patterns as
    of a shell; None allows all."""

    __slots__ = ("bucket", "group", "models", "name")

    def __init__(
        self, name: str, *, group: str, models: Sequence[str] | None = None, bucket: Bucket | None = None
    ) -> None:
        self.name, self.group, self.models, self.bucket = name, group, models, bucket

    def require(self, model: str | None) -> None:
        """That one more request for a model, or for none, is allowed. Errors: Forbidden, TooManyRequests."""
        if model is not None and self.models is not None and not any(fnmatchcase(model, p) for p in self.models):
            raise Forbidden(f"{self.name} may not use model '{model[:100]}'", stage="access", denied="model")
        wait = self.bucket.take() if self.bucket is not None else 0.0
        if wait:
            raise TooManyRequests(
                f"{self.name} has sent more than {self.bucket.rate:g} requests a second"  # type: ignore[union-attr]
                " to this gateway",
                stage="access",
                denied="rate",
                retry_after=math.ceil(wait),
            )
