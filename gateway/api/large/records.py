"""Records that are decoded some at a time, as they are asked for.

A large body becomes neither a long wait for everybody else nor objects for all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, overload

import msgspec
from msgspec import Raw, Struct

BYTES_AT_ONCE: Final = 1 << 17
OUTLINE_BYTES: Final = 96
"""What a record takes in memory before it is decoded."""

Record = Mapping[str, object]
_decode = msgspec.json.Decoder(list[Any]).decode


class Outline(Struct, forbid_unknown_fields=True):
    """The body of a record request whose records have not been decoded."""

    records: list[Raw]
    version: object = "v1"
    metadata: object = {}


decode_outline = msgspec.json.Decoder(Outline).decode


class LargeRecords(Sequence[Record]):
    """Each access decodes what it asks for; that they are JSON is known."""

    def __init__(self, records: list[Raw]) -> None:
        self._records = records
        size = sum(memoryview(record).nbytes for record in records)
        self.at_once = max(1, BYTES_AT_ONCE * len(records) // max(1, size))
        """How many of them are decoded in a short while."""

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        if isinstance(index, int):
            record: Record = _decode(b"[%b]" % self._records[index])[0]
            return record
        return _decode(b"[%b]" % b",".join(self._records[index]))

    def __iter__(self) -> Iterator[Record]:
        for at in range(0, len(self), self.at_once):
            yield from self[at : at + self.at_once]
