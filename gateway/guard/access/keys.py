"""API keys: a file of names and SHA-256 hashes, which tells nobody a key.

A plain hash is enough because keys are random: there is nothing to guess. It is looked up by itself, so the time that a
wrong key takes says nothing about the right ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated

import yaml
from msgspec import Meta, Struct

from gateway.guard.access.caller import Bucket, Caller
from gateway.settings import SettingsError
from gateway.spec.reading.strict import StrictError, convert
from gateway.spec.reading.text import load


class Key(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One key: who has it, which models it opens (patterns such as `loan-*`), how many requests a second."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._@-]{1,64}$")]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    models: list[str] | None = None
    requests_per_second: Annotated[float, Meta(gt=0)] | None = None
    burst: Annotated[int, Meta(ge=1)] | None = None


class KeyFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file. A name may stand twice while its key is exchanged; both count for the same limit."""

    keys: list[Key]


Keys = Mapping[str, Caller]
"""Callers by the hash of their key."""


def read_keys(text: str, before: Keys, time: Callable[[], float]) -> Keys:
    """The callers of a file. What callers of `before` have used of their limits stays used.

    Errors: SettingsError naming the path of the first value that is wrong; values themselves are not repeated.
    """
    try:
        found = convert(load(text), KeyFile)
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError("not valid YAML") from error
    except StrictError as error:
        raise SettingsError(f"{error.path}: not a key as docs/reference/gateway.md describes it") from error
    buckets = {caller.name: caller.bucket for caller in before.values()}
    for key in found.keys:
        buckets[key.name] = _bucket(key, buckets.get(key.name), time)
    return {
        key.sha256: Caller(key.name, group=key.name, models=key.models, bucket=buckets[key.name]) for key in found.keys
    }


def hashed(key: str) -> str:
    """What the file has of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _bucket(key: Key, before: Bucket | None, time: Callable[[], float]) -> Bucket | None:
    if key.requests_per_second is None:
        return None
    burst = key.burst or max(1, round(key.requests_per_second))
    if before is not None and (before.rate, before.burst) == (key.requests_per_second, burst):
        return before
    return Bucket(key.requests_per_second, burst, time)
