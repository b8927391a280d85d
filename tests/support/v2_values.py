"""A number or word of every datatype of the Open Inference Protocol, at the ends of its range."""

from __future__ import annotations

from typing import Any

VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False],
    "UINT8": [0, 255],
    "UINT16": [0, 65535],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "INT8": [-128, 127],
    "INT16": [-(2**15), 2**15 - 1],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP16": [0.5, -65504.0],
    "BF16": [1.0, -3.140625],
    "FP32": [0.25, -(2.0**127)],
    "FP64": [0.1, 1.0e300],
    "BYTES": ["text", "käse"],
}
