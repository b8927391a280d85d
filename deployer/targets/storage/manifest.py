"""`assets.extra/manifest.json`: it is written last, so a version with a manifest is complete."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from deployer.decode import json_as
from deployer.domain import store
from deployer.errors import ExportError
from deployer.targets.storage.disk import require_links_inside

MANIFEST = "assets.extra/manifest.json"
FEATURES = "assets.extra/features.yaml"
STATISTICS = "assets.extra/statistics.json"
WARMUP = "assets.extra/tf_serving_warmup_requests"

_CHUNK = 1 << 20


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file on disk: the domain's Manifest plus schema version and total size."""

    schemaVersion: Literal["v1"] = "v1"  # noqa: N815 - the key in all our JSON
    model: str
    version: int
    created: str
    source: str
    tensorflow: str
    signature: str
    signatures: dict[str, store.SignatureFact]
    batchable: bool
    batching_problem: str = ""
    warmup_batch_sizes: tuple[int, ...] = ()
    parity: store.ParityFact | None = None
    skew: store.SkewFact | None = None
    metrics: dict[str, float] = {}
    format: store.Format = store.Format.SAVED_MODEL
    quantize: store.Quantize = store.Quantize.NONE
    size: int
    files: dict[str, store.FileFact]


def encode(manifest: store.Manifest) -> bytes:
    """The text of manifest.json: indented, keys of maps sorted, newline at the end."""
    document = _Document(
        **{name: getattr(manifest, name) for name in _Document.__struct_fields__ if name != "schemaVersion"}
    )
    return json.dumps(msgspec.to_builtins(document, order="deterministic"), indent=2).encode() + b"\n"


def decode(text: bytes, where: str) -> store.Manifest:
    """Decode a manifest. Errors: ExportError that names `where` and the path of the wrong field."""
    try:
        document = json_as(text, _Document)
    except msgspec.MsgspecError as error:
        raise ExportError(
            f"{where} is not a valid manifest",
            hint="run `deployer export` again; a manifest must not be edited",
        ) from error
    fields = msgspec.structs.asdict(document)
    for derived in ("schemaVersion", "batchable", "size"):
        del fields[derived]
    return store.Manifest(**fields)


def read(version_dir: Path) -> store.Manifest:
    """The manifest of a version. Errors: ExportError when there is none, or it cannot be read."""
    path = version_dir / MANIFEST
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise ExportError(
            f"{version_dir} has no {MANIFEST}",
            cause="it was not written by `deployer export`, or is not a version directory",
            hint="export the SavedModel into the store: `deployer export DIR --store … --model …`",
        ) from error
    except OSError as error:
        raise ExportError(f"{path} cannot be read", hint="check the permissions of the store") from error
    return decode(text, str(path))


def measure(version_dir: Path, *, on_file: Callable[[str], None] = lambda path: None) -> dict[str, store.FileFact]:
    """Size and sha256 of every file below a version except its manifest, by POSIX path. Symbolic links are followed.

    `on_file` is called with each path before it is read. Errors: ExportError naming a file that cannot be read, or a
    link that leaves the version.
    """
    require_links_inside(version_dir)
    facts = {}
    for path in sorted(_files(version_dir)):
        if path != MANIFEST:
            on_file(path)
            facts[path] = _fact(version_dir / path)
    return facts


def verify(version_dir: Path, manifest: store.Manifest) -> tuple[store.Fault, ...]:
    """Recompute all checksums; empty if the version is unchanged. Errors: ExportError."""
    return store.find_faults(manifest.files, measure(version_dir))


def _files(root: Path) -> list[str]:
    found = []
    for folder, _, names in os.walk(root, followlinks=True):
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in names]
    return found


def _fact(path: Path) -> store.FileFact:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise ExportError(f"{path} cannot be read", hint="check the disk and the permissions of the store") from error
    return store.FileFact(size=size, sha256=digest.hexdigest())
