"""Header blocks of HTTP/2 as they are received: HPACK (RFC 7541), with a memory for the blocks that come again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import hpack

MAX_BLOCK: Final = 64 * 1024
"""Longest header block that is read, packed or unpacked."""
_KNOWN_BLOCKS: Final = 64
_KNOWN_BLOCK_SIZE: Final = 1024

MALFORMED: Final[dict[str, str]] = {}
"""Stands for the fields of a block that RFC 9113, section 8, forbids. HPACK's table has still taken it in."""

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_NEVER_IN_VALUES: Final = re.compile(r"[\0\r\n]")
_OF_A_CONNECTION: Final = frozenset({"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"})


class Pseudo(NamedTuple):
    """The pseudo-header fields of one direction: which a head must have, and which it may have. Trailers have none."""

    needed: frozenset[str]
    allowed: frozenset[str]


REQUEST: Final = Pseudo(
    frozenset({":method", ":scheme", ":path"}), frozenset({":method", ":scheme", ":path", ":authority"})
)
RESPONSE: Final = Pseudo(frozenset({":status"}), frozenset({":status"}))


class HeaderDecoder:
    """The header blocks of one direction of one connection, in their order."""

    def __init__(self, pseudo: Pseudo) -> None:
        self._pseudo = pseudo
        self._decoder = hpack.Decoder(max_header_list_size=MAX_BLOCK)
        self._known: dict[bytes, dict[str, str]] = {}

    def decode(self, block: bytes) -> dict[str, str]:
        """The fields by lower-case name, not to be changed, or MALFORMED itself.

        Blocks that left HPACK's table alone are remembered: they mean the same until the table changes.
        Errors: hpack.HPACKError, UnicodeDecodeError.
        """
        fields = self._known.get(block)
        if fields is None:
            entries = self._decoder.header_table.dynamic_entries
            before = (entries[0] if entries else None, len(entries))
            pairs = [(str(name), str(value)) for name, value in self._decoder.decode(block)]
            fields = dict(pairs) if _well_formed(pairs, self._pseudo) else MALFORMED
            if before[0] is (entries[0] if entries else None) and before[1] == len(entries):
                if len(self._known) < _KNOWN_BLOCKS and len(block) <= _KNOWN_BLOCK_SIZE:
                    self._known[block] = fields
            else:
                self._known.clear()
        return fields


def _well_formed(pairs: Sequence[tuple[str, str]], pseudo: Pseudo) -> bool:
    """Whether a head or a trailer keeps to RFC 9113, 8.2 and 8.3. Blanks around values are let pass, as in gRPC."""
    names = [name for name, _ in pairs]
    special = [name for name in names if name.startswith(":")]
    if special:
        given = dict(pairs[: len(special)])
        if len(given) < len(special) or not given.keys() <= pseudo.allowed or not all(map(given.get, pseudo.needed)):
            return False
    ordinary = names[len(special) :]  # one with a colon when a pseudo-header field comes late
    return (
        all(map(_NAME.fullmatch, ordinary))
        and _OF_A_CONNECTION.isdisjoint(ordinary)
        and all(value == "trailers" for name, value in pairs if name == "te")
        and _NEVER_IN_VALUES.search(" ".join([value for _, value in pairs])) is None
    )
