"""Header blocks of HTTP/2 as they are received: HPACK (RFC 7541), with a memory for the blocks that come again."""

from __future__ import annotations

from typing import Final

import hpack

MAX_BLOCK: Final = 64 * 1024
"""Longest header block that is read, packed or unpacked."""
_KNOWN_BLOCKS: Final = 64
_KNOWN_BLOCK_SIZE: Final = 1024


class HeaderDecoder:
    """The header blocks of one connection, in their order."""

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=MAX_BLOCK)
        self._known: dict[bytes, dict[str, str]] = {}

    def decode(self, block: bytes) -> dict[str, str]:
        """The fields by lower-case name, not to be changed. Errors: hpack.HPACKError, UnicodeDecodeError.

        Blocks that left HPACK's table alone are remembered: they mean the same until the table changes.
        """
        fields = self._known.get(block)
        if fields is None:
            entries = self._decoder.header_table.dynamic_entries
            before = (entries[0] if entries else None, len(entries))
            fields = {str(name): str(value) for name, value in self._decoder.decode(block)}
            if before[0] is (entries[0] if entries else None) and before[1] == len(entries):
                if len(self._known) < _KNOWN_BLOCKS and len(block) <= _KNOWN_BLOCK_SIZE:
                    self._known[block] = fields
            else:
                self._known.clear()
        return fields
