"""Endpoints for records, and predictions, as plain data."""

from __future__ import annotations

import msgspec

Value = str | float | tuple[float, ...]
"""One comparable prediction: a label, a number, or the numbers of one output row."""


class RecordApi(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="records"):
    """The record API of one or more gateways, used in turn. `path` is the whole path of the URL."""

    urls: tuple[str, ...]
    path: str


class Grpc(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="grpc"):
    """gRPC Predict directly at a model server through one plain channel; `dtypes` is the dtype of each input."""

    address: str
    model: str
    label: str = ""
    signature: str = "serving_default"
    dtypes: dict[str, str] = {}
