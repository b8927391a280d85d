"""Versions of a directory store copied into a store in a claim, where each appears whole, by one rename."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deployer.domain.store import FileFact, Manifest, find_faults, next_version, size_text, version_of
from deployer.errors import ExportError, TargetError, UsageError
from deployer.models.pvc import PvcAccess, opened
from deployer.targets.base import Progress
from deployer.targets.storage import manifest as manifests
from deployer.targets.storage.client import Entry, Storage
from deployer.targets.storage.layout import ModelStore
from deployer.targets.storage.pod import NewPvc

CHUNK = 4 << 20
"""Bytes in one request: small enough that an API server passes it on at once, large enough to be fast."""

SAY_SECONDS = 2.0
ABANDONED_SECONDS = 24 * 3600.0
"""Age after which an unfinished copy of other content is deleted."""

MARK = hashlib.sha256(b"deployer publish").hexdigest()[:8]
"""Where `layout` puts a mark of the host: an unfinished copy is no host's, any deployer goes on with it."""

Outcome = Literal["published", "already published", "would be published"]


@dataclass(frozen=True, kw_only=True)
class PublishRequest:
    """What to copy where. `versions` empty is the newest one; `every` all of them.

    `new_claim` is made where the claim is absent.
    """

    store: Path
    model: str
    to: PvcAccess
    versions: tuple[int, ...] = ()
    every: bool = False
    new_pvc: NewPvc | None = None
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class LocalVersion:
    """A version that was read and found whole. `files` covers the manifest too, whose text is `manifest_text`."""

    manifest: Manifest
    path: Path
    manifest_text: bytes

    @property
    def files(self) -> Mapping[str, FileFact]:
        """Every file by its path inside the version; the manifest comes last."""
        text = self.manifest_text
        own = FileFact(size=len(text), sha256=hashlib.sha256(text).hexdigest())
        return {**dict(sorted(self.manifest.files.items())), manifests.MANIFEST: own}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(fact.size for fact in self.files.values())

    @property
    def staging(self) -> str:
        """The directory in which it is put together. It follows from the content, so that a later run goes on."""
        content = hashlib.sha256(self.manifest_text).hexdigest()[:8]
        return f"{self.manifest.model}/.staging-{self.manifest.version}-{MARK}{content}"


@dataclass(frozen=True, kw_only=True)
class Published:
    """What became of one version: `size` bytes in `files` files, of which `sent` bytes were sent now."""

    model: str
    version: int
    outcome: Outcome
    files: int
    size: int
    sent: int = 0


def publish_to_pvc(request: PublishRequest, progress: Progress) -> tuple[Published, ...]:
    """Publish every version that is meant, by one pod that is gone afterwards. A dry run only reads the store.

    Errors: ExportError for a damaged version or a number that exists with other content; TargetError; WaitTimeout.
    """
    chosen = choose(request.store, request.model, request.versions, every=request.every)
    versions = [read_whole(request.store, request.model, number, progress) for number in chosen]
    if request.dry_run:
        return tuple(_result(version, "would be published") for version in versions)
    with opened(request.to, progress, new=request.new_pvc) as storage:
        return tuple(publish(version, storage, progress) for version in versions)


def choose(store: Path, model: str, versions: Iterable[int], *, every: bool) -> tuple[int, ...]:
    """The versions that are meant: those named, or every one, or the newest. Errors: ExportError when there is none."""
    place = ModelStore(root=store, model=model)
    there = place.versions()
    if not there:
        raise ExportError(f"model {model} has no version in {store}", hint="`deployer models list` shows what it holds")
    wanted = tuple(sorted(set(versions)))
    if wanted and every:
        raise UsageError("--version and --all exclude each other", hint="leave one out")
    return wanted or (there if every else there[-1:])


def read_whole(store: Path, model: str, version: int, progress: Progress) -> LocalVersion:
    """A version with every checksum recomputed. Errors: ExportError that names what is damaged."""
    path = ModelStore(root=store, model=model).path(version)
    progress(f"checking version {version} of model {model} in {store}")
    known = manifests.read(path)
    faults = manifests.verify(path, known)
    if faults or (known.model, known.version) != (model, version):
        problems = "; ".join(f"{fault.path} {fault.problem}" for fault in faults)
        raise ExportError(
            f"version {version} of model {model} is not what was exported",
            cause=problems or f"its manifest is of version {known.version} of model {known.model}",
            hint="export it again; a damaged version is never published",
        )
    return LocalVersion(manifest=known, path=path, manifest_text=(path / manifests.MANIFEST).read_bytes())


def publish(
    version: LocalVersion, storage: Storage, progress: Progress, *, clock: Callable[[], float] = time.monotonic
) -> Published:
    """Copy what is missing, verify every file where it now is, and give the whole its number by one rename.

    A number that exists with the same content is left alone. Interrupted anywhere, nothing that a server sees has
    changed, and the next call goes on from what has arrived.
    Errors: ExportError when the number exists with other content or a file arrives changed; TargetError.
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
            f"version {number} of model {model} did not arrive as it was sent",
            cause="; ".join(f"{fault.path} {fault.problem}" for fault in faults),
            hint="publish it again; look at the disk behind the claim when it happens twice",
        )
    progress(f"version {number} of model {model}: every file verified in place, renaming")
    if not storage.publish(version.staging, number):
        raise _exists(version, (*taken, number))
    return _result(version, "published", sent=copy.sent)


def _compared(version: LocalVersion, storage: Storage, taken: Mapping[int, str]) -> Published:
    model, number = version.manifest.model, version.manifest.version
    if storage.read(f"{model}/{taken[number]}/{manifests.MANIFEST}") != version.manifest_text:
        raise _exists(version, taken)
    return _result(version, "already published")


def _clean(
    version: LocalVersion,
    entries: Iterable[Entry],
    taken: Mapping[int, str],
    storage: Storage,
    progress: Progress,
) -> None:
    """Delete unfinished copies that nobody will go on with: of this number with other content, of one that exists
    meanwhile, or long abandoned. The clock is that of the store: the newest change there."""
    model = version.manifest.model
    now = max((entry.modified for entry in entries), default=0.0)
    for entry in entries:
        head, _, tail = entry.name.removeprefix(".staging-").partition("-")
        if not entry.name.startswith(".staging-") or not tail.startswith(MARK) or not head.isdigit():
            continue
        path = f"{model}/{entry.name}"
        superseded = int(head) in taken or (int(head) == version.manifest.version and path != version.staging)
        if superseded or now - entry.modified > ABANDONED_SECONDS:
            progress(f"deleting the unfinished copy {path}")
            storage.discard(path)


class _Copy:
    """The copying of one version, with its progress."""

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
        """Bring one file over, unless it is there; what its digest is there."""
        there = f"{self._version.staging}/{path}"
        have = self._storage.digest(there)
        if have == fact:
            self._count(fact.size)
            return have
        with (self._version.path / path).open("rb") as source:
            offset = _common(source.read, have)
            source.seek(offset)
            self._count(offset)
            while True:
                chunk = source.read(CHUNK)
                if chunk or not offset:
                    self._storage.write(there, offset, chunk)
                if not chunk:
                    break
                offset += len(chunk)
                self.sent += len(chunk)
                self._count(len(chunk))
        arrived = self._storage.digest(there)
        if arrived is None:
            raise TargetError(f"{there} has disappeared from the claim", hint="does another tool clean it?")
        return arrived

    def _count(self, more: int) -> None:
        self._arrived += more
        if self._clock() - self._reported >= SAY_SECONDS:
            known = self._version.manifest
            done = f"{size_text(self._arrived)} of {size_text(self._size)}"
            self._progress(f"version {known.version} of model {known.model}: {done}")
            self._reported = self._clock()


def _common(read: Callable[[int], bytes], have: FileFact | None) -> int:
    """Bytes with which an interrupted copy and the file begin alike: all that has arrived, or nothing."""
    if have is None:
        return 0
    digest, left = hashlib.sha256(), have.size
    while left and (chunk := read(min(CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
    return have.size if not left and digest.hexdigest() == have.sha256 else 0


def _exists(version: LocalVersion, taken: Iterable[int]) -> ExportError:
    known = version.manifest
    return ExportError(
        f"version {known.version} of model {known.model} already exists in the claim, with other content",
        cause="a version is immutable: servers never load changed content under a known number",
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
