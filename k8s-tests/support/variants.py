"""Versions that are bad in one way each, although their checksums hold."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from deployer.targets.storage import manifest
from deployer.targets.storage.layout import ModelStore

ERRS, CORRUPT, WRONG, SLOW, DEADLY = range(4, 9)
"""Their numbers."""


def altered(source: Path, store: Path, version: int, change: Callable[[Path], None]) -> None:
    """Publish version 1 of `digits` in `source` as another version of `store`, changed in its directory."""
    known = manifest.read(source / "digits" / "1")
    place = ModelStore(root=store, model="digits")
    with place.stage(version) as staging:
        shutil.copytree(source / "digits" / "1", staging.path, dirs_exist_ok=True)
        change(staging.path)
        files = manifest.measure(staging.path)
        (staging.path / manifest.MANIFEST).write_bytes(manifest.encode(replace(known, version=version, files=files)))
        place.publish(staging)


def cut(directory: Path) -> None:
    """A graph of which only the beginning is there."""
    graph = directory / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:100])


def unreadable(directory: Path) -> None:
    """A feature spec that looks for the response in an output that the model has not."""
    features = directory / manifest.FEATURES
    features.write_text(features.read_text().replace("name: probabilities", "name: absent"))
