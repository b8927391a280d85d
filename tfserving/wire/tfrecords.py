"""TFRecord files, uncompressed: what warm-up requests are kept in."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from tfserving.wire.status import Code, StatusError

_CRC_TABLE = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ (0x82F63B78 if _byte & 1 else 0)
    _CRC_TABLE.append(_byte)


class NotRecords(StatusError):
    """A file that is no TFRecord file; `what` is found wrong."""

    def __init__(self, what: str) -> None:
        super().__init__(Code.DATA_LOSS, f"{what}. Please verify your warmup data is in TFRecord format.")
        self.what = what


def records(stream: BinaryIO) -> Iterator[bytes]:
    """Records of an uncompressed TFRecord file. Errors: NotRecords.

    As in TensorFlow a torn length is the end of the file. The checksum of each length is verified, that of the data is
    not: a torn file shows in its lengths, and a large record would take long.
    """
    offset = 0
    while len(header := stream.read(12)) == 12:
        length, checksum = struct.unpack("<QI", header)
        if masked_crc(header[:8]) != checksum:
            raise NotRecords(f"corrupted record at {offset} (Is this even a TFRecord file?)")
        body = stream.read(length + 4)
        if len(body) < length + 4:
            raise NotRecords(f"truncated record at {offset}' failed with Read less bytes than requested")
        yield body[:length]
        offset += 12 + len(body)


def masked_crc(data: bytes) -> int:
    """CRC-32C in the masked form of TFRecord."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return masked(crc ^ 0xFFFFFFFF)


def framed(data: bytes, crc: int) -> bytes:
    """One record as it stands in a file; `crc` is the masked CRC-32C of `data`."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", masked_crc(length)), data, struct.pack("<I", crc)))


def masked(crc: int) -> int:
    """A CRC-32C in the masked form of TFRecord."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
