"""The stores of the config, and records with what is looked up for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.errors import BadRequest, Unavailable
from gateway.lookup.cached import CachedStore
from gateway.lookup.redis import RedisStore
from gateway.lookup.sqlite import SqliteStore
from gateway.lookup.store import FeatureStore, StoreFailure, Values
from gateway.observe.metrics import Metrics
from gateway.preprocess.problems import SHOWN_MAX, Problem, RecordProblems
from gateway.settings import Store
from gateway.spec import Lookup

log = logging.getLogger("gateway")

Record = Mapping[str, object]


class Lookups:
    """Looks features up for whole requests."""

    def __init__(self, metrics: Metrics, folder: Path = Path()) -> None:
        """Files of stores are relative to `folder`, that of the config."""
        self._metrics = metrics
        self._folder = folder
        self._settings: Mapping[str, Store] = {}
        self._stores: dict[str, CachedStore] = {}

    async def configure(self, settings: Mapping[str, Store]) -> None:
        """Take new stores; one that is as before keeps what it knows.

        Errors: SettingsError; then nothing has changed.
        """
        made = {
            name: self._stores[name] if self._settings.get(name) == store else self._open(store)
            for name, store in settings.items()
        }
        gone = [store for name, store in self._stores.items() if made.get(name) is not store]
        self._settings, self._stores = dict(settings), made
        for store in gone:
            await store.close()

    async def close(self) -> None:
        """Give up all connections."""
        await self.configure({})

    async def enrich(self, lookup: Lookup, records: Sequence[Record]) -> Sequence[Record]:
        """The records with what is stored for them: one round trip for all.

        Errors: BadRequest for records without a usable key, that bring what is looked up, or, where the spec says so,
        of which nothing is stored; Unavailable when the store does not respond and the spec has no defaults.
        """
        keys = _keys(lookup, records)
        store = self._stores.get(lookup.store)
        if store is None:
            raise Unavailable(f"the gateway has no store '{lookup.store}' to look features up in", stage="lookup")
        features = tuple(lookup.features)
        try:
            found, known = await store.fetch(keys, features, lookup.ttl_seconds)
        except StoreFailure as failure:
            self._metrics.lookups.add(lookup.store, "failed", amount=len(keys))
            if lookup.on_miss == "error":
                raise Unavailable(
                    f"features cannot be looked up in store '{lookup.store}': {failure}", stage="lookup"
                ) from failure
            return records
        missed = sum(values is None for values in found.values())
        self._metrics.lookups.add(lookup.store, "known", amount=known)
        self._metrics.lookups.add(lookup.store, "missed", amount=missed)
        self._metrics.lookups.add(lookup.store, "asked", amount=len(found) - known)
        return _joined(lookup, records, keys, found)

    def _open(self, settings: Store) -> CachedStore:
        timeout = settings.timeout_ms / 1000
        store: FeatureStore
        if settings.redis is not None:
            store = RedisStore(settings.redis, cluster=settings.cluster, timeout=timeout)
        else:
            store = SqliteStore(self._folder / (settings.sqlite or ""), settings.table)
        return CachedStore(store, entries=settings.cache_entries, timeout=timeout, time=time.monotonic)


def _keys(lookup: Lookup, records: Sequence[Record]) -> list[str]:
    """The key of each record in the store. Errors: BadRequest."""
    keys: list[str] = []
    problems: list[Problem] = []
    looked_up = frozenset(lookup.features)
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            keys.append("")
            continue
        value = record.get(lookup.key)
        if isinstance(value, bool) or not isinstance(value, str | int):
            what = "missing, and features are looked up by it" if value is None else "expected text or a whole number"
            problems.append(Problem(index, lookup.key, what))
        problems += [
            Problem(index, name, "it is looked up, a record must not contain it")
            for name in sorted(looked_up & record.keys())
        ]
        keys.append(f"{lookup.prefix}{value}")
    _refuse(problems)
    return keys


def _joined(
    lookup: Lookup, records: Sequence[Record], keys: Sequence[str], found: Mapping[str, Values | None]
) -> list[Record]:
    joined: list[Record] = []
    problems: list[Problem] = []
    for index, (record, key) in enumerate(zip(records, keys, strict=True)):
        values = found[key]
        if values is None and lookup.on_miss == "error":
            problems.append(Problem(index, lookup.key, "nothing is stored for it"))
        joined.append({**record, **values} if values and isinstance(record, dict) else record)
    _refuse(problems)
    return joined


def _refuse(problems: Sequence[Problem]) -> None:
    if problems:
        error = RecordProblems(problems[:SHOWN_MAX], len(problems))
        raise BadRequest(str(error), details=error.problems, stage="lookup")
