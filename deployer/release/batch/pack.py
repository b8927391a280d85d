"""Rows packed into requests that a gateway takes: by number of records and by size. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from deployer.records.rows import Row
from gateway.settings import Settings

HEAD: Final = b'{"version":"v1","records":['
TAIL: Final = b"]}"
SPARE: Final = 0.9
"""Of the gateway's limit of bytes, what a request uses."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may hold: `records`, and `size` in bytes of its body."""

    records: int
    size: int


def within(settings: Settings, *, records: int) -> Limits:
    """Requests of so many records, or as many as the gateways take."""
    limits = settings.limits
    return Limits(records=min(records, limits.max_records), size=int(limits.max_body_bytes * SPARE))


def pack(rows: Iterable[Row], limits: Limits) -> Iterator[tuple[Row, ...]]:
    """Rows in order, as many in a request as the limits allow.

    A row that cannot be read takes the place of a record, so that what is buffered stays bounded. One that is larger
    than a request stands alone; the gateway's response to it says so.
    """
    chunk: list[Row] = []
    size = len(HEAD) + len(TAIL)
    for row in rows:
        added = len(row.record) + 1
        if chunk and (len(chunk) >= limits.records or size + added > limits.size):
            yield tuple(chunk)
            chunk, size = [], len(HEAD) + len(TAIL)
        chunk.append(row)
        size += added
    if chunk:
        yield tuple(chunk)


def body(rows: Sequence[Row]) -> bytes:
    """The body of the request."""
    return HEAD + b",".join([row.record for row in rows]) + TAIL
