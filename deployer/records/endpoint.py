"""Where records are sent, and what a prediction is, as plain data."""

from __future__ import annotations

import msgspec

Value = str | float | tuple[float, ...]
"""One prediction in a form that can be compared: a label, a number, or the numbers of one row of the output."""


class RecordApi(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="records"):
    """The record API of one or more gateways; requests go round them. `path` is the whole path of the URL."""

    urls: tuple[str, ...]
    path: str


class Grpc(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="grpc"):
    """Predict straight at a model server through one plain channel; `dtypes` names the type of each input."""

    address: str
    model: str
    label: str = ""
    signature: str = "serving_default"
    dtypes: dict[str, str] = {}
