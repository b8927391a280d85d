"""`deployer publish`: copy versions of a directory store to a store in a PVC; one rename publishes each version."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deployer.domain.store import FileFact, Manifest, find_faults, next_version, size_text, version_of
from deployer.errors import ExportError, TargetError, UsageError
from deployer.models.pvc import PvcAccess, opened
from deployer.targets.base import Progress
from deployer.targets.storage import manifest
from deployer.targets.storage.client import Entry, Storage
from deployer.targets.storage.layout import ModelStore
from deployer.targets.storage.pod import NewPvc

UPLOAD_CHUNK_BYTES = 4 << 20
"""Bytes per request: small enough for an API server to forward at once, large enough to be fast."""

COPY_PROGRESS_SECONDS = 2.0
ABANDONED_SECONDS = 24 * 3600.0
"""Age after which an unfinished copy with other content is deleted."""

PUBLISH_HOST_ID = hashlib.sha256(b"deployer publish").hexdigest()[:8]
"""Used where `layout` uses the id of the host: an unfinished copy has no host; any deployer can continue it."""

if TYPE_CHECKING:
    from deployer.models.proof.served import Prover

Outcome = Literal["published", "already published", "would be published"]


@dataclass(frozen=True, kw_only=True)
class PublishRequest:
    """What to copy, and where. Empty `versions` means the newest one; `every` means all.

    `new_pvc` is created if the PVC does not exist. With a `prover`, each version is loaded on a model server first.
    """

    store: Path
    model: str
    to: PvcAccess
    versions: tuple[int, ...] = ()
    every: bool = False
    new_pvc: NewPvc | None = None
    dry_run: bool = False
    prover: Prover | None = None


@dataclass(frozen=True, kw_only=True)
class LocalVersion:
    """A verified local version. `files` includes the manifest, whose text is `manifest_text`."""

    manifest: Manifest
    path: Path
    manifest_text: bytes

    @property
    def files(self) -> Mapping[str, FileFact]:
        """Every file by its path inside the version; the manifest comes last."""
        text = self.manifest_text
        own = FileFact(size=len(text), sha256=hashlib.sha256(text).hexdigest())
        return {**dict(sorted(self.manifest.files.items())), manifest.MANIFEST: own}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(fact.size for fact in self.files.values())

    @property
    def staging(self) -> str:
        """Its staging directory in the PVC. The name depends on the content, so that a later run can continue."""
        content = hashlib.sha256(self.manifest_text).hexdigest()[:8]
        return f"{self.manifest.model}/.staging-{self.manifest.version}-{PUBLISH_HOST_ID}{content}"


@dataclass(frozen=True, kw_only=True)
class Published:
    """The result for one version: `size` bytes in `files` files; `sent` bytes were sent by this run."""

    model: str
    version: int
    outcome: Outcome
    files: int
    size: int
    sent: int = 0


def publish_to_pvc(request: PublishRequest, progress: Progress) -> tuple[Published, ...]:
    """Publish the chosen versions through one temporary pod. A dry run only reads the local store.

    Errors: ExportError for a damaged version, one that the prover cannot load, or one that exists with other content;
    TargetError; WaitTimeout.
    """
    chosen = choose(request.store, request.model, request.versions, every=request.every)
    versions = [read_verified(request.store, request.model, number, progress) for number in chosen]
    if request.prover is not None:
        from deployer.models.proof.loading import prove  # a client of model servers, which nothing else here needs

        for version in versions:
            prove(version.path, request.prover, progress)
    if request.dry_run:
        return tuple(_result(version, "would be published") for version in versions)
    with opened(request.to, progress, new=request.new_pvc) as storage:
        return tuple(publish(version, storage, progress) for version in versions)


def choose(store: Path, model: str, versions: Iterable[int], *, every: bool) -> tuple[int, ...]:
    """The chosen versions: those named, or all, or the newest. Errors: ExportError when there is none."""
    place = ModelStore(root=store, model=model)
    existing = place.versions()
    if not existing:
        raise ExportError(f"model {model} has no version in {store}", hint="`deployer models list` shows its content")
    wanted = tuple(sorted(set(versions)))
    if wanted and every:
        raise UsageError("--version and --all cannot be used together", hint="leave one out")
    return wanted or (existing if every else existing[-1:])


def read_verified(store: Path, model: str, version: int, progress: Progress) -> LocalVersion:
    """Read a version and verify all checksums. Errors: ExportError that names the damaged files."""
    path = ModelStore(root=store, model=model).path(version)
    progress(f"checking version {version} of model {model} in {store}")
    known = manifest.read(path)
    faults = manifest.verify(path, known)
    if faults or (known.model, known.version) != (model, version):
        problems = "; ".join(f"{fault.path} {fault.problem}" for fault in faults)
        raise ExportError(
            f"version {version} of model {model} has changed since its export",
            cause=problems or f"its manifest belongs to version {known.version} of model {known.model}",
            hint="export it again; a damaged version is not published",
        )
    return LocalVersion(manifest=known, path=path, manifest_text=(path / manifest.MANIFEST).read_bytes())


def publish(
    version: LocalVersion, storage: Storage, progress: Progress, *, clock: Callable[[], float] = time.monotonic
) -> Published:
    """Copy what is missing, verify every file in the PVC, and rename the directory to the version number.

    A version that exists with the same content is not changed. If interrupted, a server sees no change, and the next
    call continues.
    Errors: ExportError when the version exists with other content, or a file was changed in transit; TargetError.
    """
    model, number = version.manifest.model, version.manifest.version
    entries = storage.entries(model) or ()
    taken = {n: entry.name for entry in entries if (n := version_of(entry.name)) is not None}
    if number in taken:
        return _compared(version, storage, taken)
    _clean(version, entries, taken, storage, progress)
    storage.stage(version.staging)
    progress(f"sending version {number} of model {model} ({size_text(version.size)})")
    copy = _Copy(version, storage, progress, clock)
    found = {path: copy.file(path, fact) for path, fact in version.files.items()}
    for path in storage.files(version.staging):
        if path not in found and (fact := storage.digest(f"{version.staging}/{path}")) is not None:
            found[path] = fact
    faults = find_faults(version.files, found)
    if faults:
        storage.discard(version.staging)
        raise ExportError(
            f"version {number} of model {model} was changed in transit",
            cause="; ".join(f"{fault.path} {fault.problem}" for fault in faults),
            hint="publish it again; if it happens again, check the disk of the PVC",
        )
    progress(f"version {number} of model {model}: all files verified in the PVC, renaming")
    if not storage.publish(version.staging, number):
        raise _exists(version, (*taken, number))
    return _result(version, "published", sent=copy.sent)


def _compared(version: LocalVersion, storage: Storage, taken: Mapping[int, str]) -> Published:
    model, number = version.manifest.model, version.manifest.version
    if storage.read(f"{model}/{taken[number]}/{manifest.MANIFEST}") != version.manifest_text:
        raise _exists(version, taken)
    return _result(version, "already published")


def _clean(
    version: LocalVersion,
    entries: Iterable[Entry],
    taken: Mapping[int, str],
    storage: Storage,
    progress: Progress,
) -> None:
    """Delete unfinished copies that will not be continued: of this version with other content, of a version that exists
    by now, or abandoned. The current time is that of the store: its latest change."""
    model = version.manifest.model
    now = max((entry.modified for entry in entries), default=0.0)
    for entry in entries:
        head, _, tail = entry.name.removeprefix(".staging-").partition("-")
        if not entry.name.startswith(".staging-") or not tail.startswith(PUBLISH_HOST_ID) or not head.isdigit():
            continue
        path = f"{model}/{entry.name}"
        superseded = int(head) in taken or (int(head) == version.manifest.version and path != version.staging)
        if superseded or now - entry.modified > ABANDONED_SECONDS:
            progress(f"deleting the unfinished copy {path}")
            storage.discard(path)


class _Copy:
    """Copies one version, with progress."""

    def __init__(self, version: LocalVersion, storage: Storage, progress: Progress, clock: Callable[[], float]) -> None:
        self._version = version
        self._storage = storage
        self._progress = progress
        self._clock = clock
        self._arrived = 0
        self._size = version.size
        self._reported = clock()
        self.sent = 0

    def file(self, path: str, fact: FileFact) -> FileFact:
        """Copy one file, unless it already exists; returns its digest in the PVC."""
        target = f"{self._version.staging}/{path}"
        have = self._storage.digest(target)
        if have == fact:
            self._count(fact.size)
            return have
        with (self._version.path / path).open("rb") as source:
            offset = _common(source.read, have)
            source.seek(offset)
            self._count(offset)
            while True:
                chunk = source.read(UPLOAD_CHUNK_BYTES)
                if chunk or not offset:
                    self._storage.write(target, offset, chunk)
                if not chunk:
                    break
                offset += len(chunk)
                self.sent += len(chunk)
                self._count(len(chunk))
        arrived = self._storage.digest(target)
        if arrived is None:
            raise TargetError(
                f"{target} has disappeared from the PVC", hint="check whether another tool deletes files in the PVC"
            )
        return arrived

    def _count(self, more: int) -> None:
        self._arrived += more
        if self._clock() - self._reported >= COPY_PROGRESS_SECONDS:
            known = self._version.manifest
            done = f"{size_text(self._arrived)} of {size_text(self._size)}"
            self._progress(f"version {known.version} of model {known.model}: {done}")
            self._reported = self._clock()


def _common(read: Callable[[int], bytes], have: FileFact | None) -> int:
    """Bytes of an interrupted copy that match the file: all of the copy, or 0."""
    if have is None:
        return 0
    digest, left = hashlib.sha256(), have.size
    while left and (chunk := read(min(UPLOAD_CHUNK_BYTES, left))):
        digest.update(chunk)
        left -= len(chunk)
    return have.size if not left and digest.hexdigest() == have.sha256 else 0


def _exists(version: LocalVersion, taken: Iterable[int]) -> ExportError:
    known = version.manifest
    return ExportError(
        f"version {known.version} of model {known.model} already exists in the PVC, with other content",
        cause="a version is immutable: a server does not reload a version that it has already loaded",
        hint=f"export the model again as version {next_version(taken)} or later, and publish that",
    )


def _result(version: LocalVersion, outcome: Outcome, sent: int = 0) -> Published:
    return Published(
        model=version.manifest.model,
        version=version.manifest.version,
        outcome=outcome,
        files=len(version.files),
        size=version.size,
        sent=sent,
    )
