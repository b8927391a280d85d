"""Frames of TFRecord files, by tensorflow's own rules."""

from __future__ import annotations


def framed(data: bytes) -> bytes:
    """A record: its length and its data, each with a checksum."""
    length = len(data).to_bytes(8, "little")
    return length + masked_crc(length) + data + masked_crc(data)


def masked_crc(data: bytes) -> bytes:
    """CRC-32C, masked."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")
