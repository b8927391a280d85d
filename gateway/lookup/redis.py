"""Redis: one hash per key, whose fields are the features. Through its maintained client, redis-py."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.lookup.store import StoreFailure, Values
from gateway.settings import SettingsError

_decode = msgspec.json.Decoder().decode


class RedisStore:
    """A server, or a cluster of them, by URL (`redis://`, `rediss://` for TLS), in which `$NAME` is an environment
    variable."""

    def __init__(self, url: str, *, cluster: bool, timeout: float) -> None:
        """`timeout` bounds connecting and each response, in seconds. Errors: SettingsError without redis-py or for a
        bad URL."""
        try:
            from redis.asyncio import Redis, RedisCluster
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError as error:
            raise SettingsError("stores: redis needs the extra [redis] of this package") from error
        url = os.path.expandvars(url)
        if "$" in url:
            raise SettingsError("stores: the URL of redis names an environment variable that is not set")
        options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        try:
            # The circuit breaker says when to ask again; the client itself repeats nothing.
            if cluster:
                self._client: Any = RedisCluster.from_url(url, **options)
            else:
                self._client = Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)
        except ValueError as error:
            raise SettingsError(f"stores: {error}") from error

    async def fetch(self, keys: Sequence[str], features: Sequence[str]) -> list[Values | None]:
        from redis.exceptions import RedisError

        try:
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.hmget(key, list(features))
            rows = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreFailure(type(error).__name__) from error
        return [_values(features, row) for row in rows]

    async def close(self) -> None:
        await self._client.aclose()


def _values(features: Sequence[str], row: Sequence[bytes | None]) -> Values | None:
    found = {name: value_of(raw) for name, raw in zip(features, row, strict=True) if raw is not None}
    return found or None


def value_of(raw: bytes) -> object:
    """A stored value: JSON where it is JSON (a number, true, null, a list), else the text itself."""
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw.decode("utf-8", "replace")
