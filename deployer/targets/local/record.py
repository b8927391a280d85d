"""What a local release serves, recorded for the next `up`: in its own folder, and in the store.

The one in the store, `<store>/.releases/<release>.json`, outlives the folder. A model server sees model directories
only, and a name that begins with a dot is not one.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from deployer.decode import json_as
from deployer.files import replace_file

FOLDER = ".releases"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of the two files that say what a release serves."""

    model_config: str
    gateway_config: str


def path_in(store: Path, release: str) -> Path:
    """Where the record of a release is kept in a store."""
    return store / FOLDER / f"{release}.json"


def read(path: Path) -> Record | None:
    """The record; None when there is none, or none that can be read."""
    try:
        return json_as(path.read_bytes(), Record)
    except (OSError, msgspec.MsgspecError):
        return None


def write(path: Path, record: Record) -> None:
    """Keep the record. A store that cannot be written to keeps none: the release works without it."""
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        replace_file(path, msgspec.json.format(msgspec.json.encode(record)))
