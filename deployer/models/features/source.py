"""The signature of a model that has not been exported yet, or of a version that has."""

from __future__ import annotations

import tempfile
from pathlib import Path

from deployer.domain.store import SignatureFact
from deployer.targets.storage import signatures
from deployer.targets.storage.disk import no_step


def signature_of(source: str, signature: str, *, trust: bool = False) -> SignatureFact:
    """Of a SavedModel directory without tensorflow; of any other source of `export` by saving it to a temporary place.

    Errors: ExportError.
    """
    path = Path(source)
    if path.is_dir():
        return signatures.read(path).signature(signature)
    from deployer.models.export.sources import open_source

    with tempfile.TemporaryDirectory(prefix="deployer-features-") as folder:
        open_source(source, trust=trust).save(Path(folder), on_step=no_step)
        return signatures.read(Path(folder)).signature(signature)
