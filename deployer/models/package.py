"""`deployer package`: one version of a store in the form that another platform takes."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from deployer.domain.store import Format, Manifest
from deployer.errors import ExportError, UsageError, disk_errors
from deployer.targets.base import Progress
from deployer.targets.storage import manifest
from deployer.targets.storage.disk import copy_tree, make_readable
from deployer.targets.storage.layout import ModelStore

ARCHIVE = ".tar.gz"


class Platform(StrEnum):
    """What a package is for."""

    SAGEMAKER = "sagemaker"
    """An archive `MODEL/N/…` for SageMaker's TensorFlow Serving containers."""
    VERTEX = "vertex"
    """A folder with the SavedModel at its top, for Vertex AI's prebuilt TensorFlow containers."""
    DOCKER = "docker"
    """A build context whose image is TensorFlow Serving with the version inside."""


@dataclass(frozen=True, kw_only=True)
class PackageRequest:
    """What to package. `version` None is the newest; `image` is the server of a build context."""

    store: Path
    model: str
    version: int | None
    platform: Platform
    output: Path
    image: str = ""


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """A written package: `files` of the version are in it, with its manifest."""

    model: str
    version: int
    platform: Platform
    path: Path
    files: int
    size: int


def package(request: PackageRequest, *, progress: Progress) -> Packaged:
    """Write a package, which appears whole or not at all.

    Errors: UsageError for an output that exists or does not fit the platform; ExportError for a version without a
    manifest, a damaged one, or a TFLite version for a platform whose servers do not serve it.
    """
    _check_output(request)
    store = ModelStore(root=request.store, model=request.model)
    version = request.version if request.version is not None else max(store.versions(), default=0)
    path = store.path(version)
    known = manifest.read(path)
    _check_format(known, request.platform)
    progress(f"checking {len(known.files)} files of {path}")
    _check(path, known)
    draft = request.output.with_name(f".{request.output.name}.{secrets.token_hex(4)}")
    with disk_errors(UsageError):
        request.output.parent.mkdir(parents=True, exist_ok=True)
        try:
            progress(f"writing {request.output}")
            _WRITERS[request.platform](path, draft, request, known)
            if draft.is_dir():
                make_readable(draft)  # COPY keeps modes, and the server in the image is another user
            if request.output.is_dir():
                request.output.rmdir()
            os.replace(draft, request.output)
        finally:
            if draft.is_dir():
                shutil.rmtree(draft, ignore_errors=True)
            draft.unlink(missing_ok=True)
    return Packaged(
        model=request.model,
        version=version,
        platform=request.platform,
        path=request.output,
        files=len(known.files) + 1,
        size=_size(request.output),
    )


def _check_output(request: PackageRequest) -> None:
    output = request.output
    if request.platform is Platform.SAGEMAKER and not output.name.endswith(ARCHIVE):
        raise UsageError(f"{output} is no archive", hint="SageMaker takes a file: --output model.tar.gz")
    if output.is_dir() and request.platform is not Platform.SAGEMAKER and not any(output.iterdir()):
        return
    if output.exists():
        raise UsageError(f"{output} exists already", hint="name another --output, or delete it")


def _check_format(known: Manifest, platform: Platform) -> None:
    if known.format is Format.TFLITE and platform is not Platform.DOCKER:
        raise ExportError(
            f"version {known.version} of model {known.model} is a TFLite model, which the servers of {platform} do not "
            "serve",
            hint="package a version that was exported as a SavedModel, or use --format docker",
        )


def _check(path: Path, known: Manifest) -> None:
    faults = manifest.verify(path, known)
    if faults:
        raise ExportError(
            f"{path} is damaged: {faults[0].path} {faults[0].problem}", hint="export or copy the version again"
        )


def _sagemaker(path: Path, draft: Path, request: PackageRequest, known: Manifest) -> None:
    """The same version gives the same bytes: names in order, without times and owners."""
    inside = f"{known.model}/{known.version}"
    with (
        draft.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted([*known.files, manifest.MANIFEST]):
            entry = tarfile.TarInfo(f"{inside}/{name}")
            entry.size, entry.mode = (path / name).stat().st_size, 0o644
            with (path / name).open("rb") as content:
                archive.addfile(entry, content)


def _vertex(path: Path, draft: Path, request: PackageRequest, known: Manifest) -> None:
    draft.mkdir()
    copy_tree(path, draft)
    _check(draft, known)


def _docker(path: Path, draft: Path, request: PackageRequest, known: Manifest) -> None:
    version = draft / "models" / known.model / str(known.version)
    version.mkdir(parents=True)
    copy_tree(path, version)
    _check(version, known)
    flags = ["--enable_grpc_healthcheck_service=true", "--enable_profiler=false"]
    if known.format is Format.TFLITE:
        flags.append("--prefer_tflite_model=true")
    (draft / "Dockerfile").write_text(
        f"# {known.model} version {known.version}: gRPC on port 8500, REST on 8501.\n"
        f"FROM {request.image}\n"
        f"COPY models/ /models/\n"
        f"ENV MODEL_NAME={known.model}\n"
        f"CMD {json.dumps(flags)}\n",
        "utf-8",
    )


_WRITERS: dict[Platform, Callable[[Path, Path, PackageRequest, Manifest], None]] = {
    Platform.SAGEMAKER: _sagemaker,
    Platform.VERTEX: _vertex,
    Platform.DOCKER: _docker,
}


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
