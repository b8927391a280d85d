"""Publishing into a store on a file system: a version appears by one rename, complete, or not at all.

The order is: write below `<store>/<model>/.staging-<N>-<random>/`, flush files and then directories to the disk,
rename to `<N>`, flush the model's directory. TensorFlow Serving ignores names that are no integers, so nothing that it
can see changes before the rename, at whatever byte the process dies.

Two locks, both `flock` on a directory, which the kernel drops when their holder dies: the model's directory is locked
for the moment in which a number is chosen or a rename made; a staging directory is locked for as long as its exporter
lives. What nobody has locked is left over from a dead exporter and is cleaned by the next one. A network file system
may keep these locks per host, so the random part starts with a mark of the host, and what another host left is only
cleaned after a day without change.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deployer.domain.store import model_name_problem, next_version, version_of
from deployer.errors import ExportError
from deployer.targets.storage.disk import OnStep, locked, no_step, sync, sync_tree, try_lock

FOREIGN_STALE_SECONDS = 24 * 3600.0
"""Age after which an unfinished directory of another host is taken for left over."""


@dataclass(frozen=True, kw_only=True)
class Staging:
    """A version under construction: its number, and the directory that nobody else sees or cleans."""

    version: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class _Unfinished:
    """A directory that is being written (staging) or deleted (removed), now or by somebody who died."""

    path: Path
    version: int
    host: str


_UNFINISHED = re.compile(r"\.(?:staging|removed)-([0-9]+)-([0-9a-f]{8})[0-9a-f]{8}\Z")


@dataclass(frozen=True, kw_only=True)
class ModelStore:
    """The directory `<store>/<model>` of one model. `host` (8 hex digits) marks what this machine leaves unfinished."""

    root: Path
    model: str
    host: str = hashlib.sha256(platform.node().encode()).hexdigest()[:8]

    def __post_init__(self) -> None:
        problem = model_name_problem(self.model)
        if problem:
            raise ExportError(problem, hint="choose another model name")

    @property
    def base(self) -> Path:
        """What TensorFlow Serving gets as base_path."""
        return self.root / self.model

    def versions(self) -> tuple[int, ...]:
        """Numbers of the versions that a server sees, ascending; empty when the model's directory does not exist."""
        return tuple(sorted(self._taken()))

    def path(self, version: int) -> Path:
        """The directory of an existing version, however its number is spelled ("3", "003").

        Errors: ExportError that lists what there is.
        """
        taken = self._taken()
        if version not in taken:
            there = ", ".join(map(str, sorted(taken))) or "none"
            raise ExportError(f"model {self.model} has no version {version} in {self.root}", hint=f"versions: {there}")
        return self.base / taken[version]

    def free(self, version: int | None) -> int:
        """The number that `stage` would reserve now, without touching the store. Errors: ExportError as there."""
        return self._reserve(version)

    @contextmanager
    def stage(self, version: int | None) -> Iterator[Staging]:
        """Reserve `version`, or the next free number, and hold an empty staging directory for it.

        What dead exporters left is cleaned first. On leaving, an unpublished directory is removed, and with it the
        folders of model and store where this call made them and nothing else is in them.
        Errors: ExportError when the number exists or is being exported.
        """
        made = [folder for folder in (self.base, self.root) if not folder.exists()]
        try:
            self.base.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExportError(f"store {self.base} cannot be created", hint="check the path and permissions") from error
        with ExitStack() as held:
            held.callback(_remove_empty, made)
            with locked(self.base):
                self._clean(time.time())
                version = self._reserve(version)
                path = self.base / f".staging-{version}-{self.host}{secrets.token_hex(4)}"
                path.mkdir()
                held.enter_context(locked(path))
            held.callback(_discard, path)
            yield Staging(version=version, path=path)

    def publish(self, staging: Staging, *, on_step: OnStep = no_step) -> Path:
        """Flush a complete staging directory to the disk and give it its number.

        Returns the version's directory. Errors: ExportError when the number has appeared meanwhile; whatever is there
        stays as it is.
        """
        sync_tree(staging.path, on_step=on_step)
        target = self.base / str(staging.version)
        with locked(self.base):
            if staging.version in self._taken():
                raise self._exists(staging.version)
            on_step(f"rename to {target.name}")
            try:
                staging.path.rename(target)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise self._exists(staging.version) from error
                raise ExportError(f"{target} cannot be created", hint="check the permissions of the store") from error
        on_step(f"sync {self.model}")
        sync(self.base)
        return target

    def remove(self, version: int) -> None:
        """Take a version away by one rename, then delete its files. Errors: ExportError when there is no such version.

        A server that has it loaded keeps answering from memory; one that starts later does not see a half of it.
        """
        with ExitStack() as held:
            with locked(self.base):
                path = self.path(version)
                gone = self.base / f".removed-{version}-{self.host}{secrets.token_hex(4)}"
                held.enter_context(locked(path))
                path.rename(gone)
                sync(self.base)
            shutil.rmtree(gone)

    def clean(self, *, now: float | None = None) -> tuple[Path, ...]:
        """Delete what dead exporters left and return it; directories of live ones are not touched.

        `now` is in seconds since the epoch, by default the time of the call.
        """
        with locked(self.base):
            return self._clean(time.time() if now is None else now)

    def _clean(self, now: float) -> tuple[Path, ...]:
        stale = tuple(entry.path for entry in self._unfinished() if self._is_stale(entry, now))
        for path in stale:
            shutil.rmtree(path)
        return stale

    def _is_stale(self, entry: _Unfinished, now: float) -> bool:
        try:
            if entry.host != self.host:
                return now - entry.path.stat().st_mtime > FOREIGN_STALE_SECONDS
            held = try_lock(entry.path)
        except FileNotFoundError:  # its exporter has given up and removed it since we looked
            return False
        if held is None:
            return False
        os.close(held)
        return True

    def _reserve(self, version: int | None) -> int:
        """After cleaning, our own host's unfinished directories are alive; another host's may be dead, and only a gap
        in the numbers is risked by stepping over them."""
        taken, unfinished = self._taken(), self._unfinished()
        if version is None:
            return next_version([*taken, *(entry.version for entry in unfinished)])
        if version < 1:
            raise ExportError(f"version {version} is not possible", hint="versions are whole numbers from 1 up")
        if version in taken:
            raise self._exists(version)
        if any(entry.version == version and entry.host == self.host for entry in unfinished):
            raise ExportError(
                f"version {version} of model {self.model} is being exported by another process",
                hint="wait for it, or leave the number out to get the next free one",
            )
        return version

    def _unfinished(self) -> tuple[_Unfinished, ...]:
        if not self.base.exists():
            return ()
        matches = ((path, _UNFINISHED.match(path.name)) for path in sorted(self.base.iterdir()))
        return tuple(_Unfinished(path=path, version=int(m[1]), host=m[2]) for path, m in matches if m)

    def _taken(self) -> dict[int, str]:
        try:
            names = os.listdir(self.base)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ExportError(f"store {self.base} cannot be read", hint="name a directory that you may read") from error
        return {number: name for name in names if (number := version_of(name)) is not None}

    def _exists(self, version: int) -> ExportError:
        return ExportError(
            f"version {version} of model {self.model} already exists in {self.root}",
            cause="a version is immutable: servers never load changed content under a known number",
            hint=f"leave the number out to publish version {next_version(self._taken())}",
        )


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # what has something in it stays
            folder.rmdir()


def _discard(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def models(root: Path) -> tuple[str, ...]:
    """Names of the models in a store, sorted. Errors: ExportError when the store is not a readable directory."""
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise ExportError(f"store {root} cannot be read", hint="name the directory that holds the models") from error
    return tuple(e.name for e in entries if e.is_dir() and not model_name_problem(e.name))
