"""Publishing into a store on a file system: one rename publishes a complete version.

The order is: write below `<store>/<model>/.staging-<N>-<random>/`, flush files and then directories to the disk,
rename to `<N>`, flush the model's directory. TensorFlow Serving ignores names that are not integers, so it sees nothing
before the rename, even if the process dies at any byte.

There are two locks, both `flock` on a directory; the kernel releases them when the holder dies. The model's directory
is locked while a number is chosen or a rename is made; a staging directory is locked while its export runs. An unlocked
staging directory is left over from a dead export, and the next export deletes it. A network file system may keep
these locks per host. So the random part starts with an id of the host, and directories of other hosts are only deleted
after a day without changes.
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
from deployer.targets.storage.disk import OnStep, locked, make_readable, no_step, sync, sync_tree, try_lock

FOREIGN_STALE_SECONDS = 24 * 3600.0
"""Age after which an unfinished directory of another host counts as left over."""


@dataclass(frozen=True, kw_only=True)
class Staging:
    """A version that is being exported: its number, and its locked staging directory."""

    version: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class _Unfinished:
    """A directory that is being written (staging) or deleted (removed), or that a dead process left."""

    path: Path
    version: int
    host: str


_UNFINISHED = re.compile(r"\.(?:staging|removed)-([0-9]+)-([0-9a-f]{8})[0-9a-f]{8}\Z")


@dataclass(frozen=True, kw_only=True)
class ModelStore:
    """The directory `<store>/<model>` of one model. `host` (8 hex digits) is this machine's id."""

    root: Path
    model: str
    host: str = hashlib.sha256(platform.node().encode()).hexdigest()[:8]

    def __post_init__(self) -> None:
        problem = model_name_problem(self.model)
        if problem:
            raise ExportError(problem, hint="choose another model name")

    @property
    def base(self) -> Path:
        """The base_path of TensorFlow Serving."""
        return self.root / self.model

    def versions(self) -> tuple[int, ...]:
        """The versions that a server sees, ascending; empty if the model's directory does not exist."""
        return tuple(sorted(self._taken()))

    def path(self, version: int) -> Path:
        """The directory of an existing version; its name may also be written as "003".

        Errors: ExportError that lists the existing versions.
        """
        taken = self._taken()
        if version not in taken:
            existing = ", ".join(map(str, sorted(taken))) or "none"
            raise ExportError(
                f"model {self.model} has no version {version} in {self.root}", hint=f"versions: {existing}"
            )
        return self.base / taken[version]

    def free(self, version: int | None) -> int:
        """The number that `stage` would reserve now, without changing the store. Errors: as for `stage`."""
        return self._reserve(version)

    @contextmanager
    def stage(self, version: int | None) -> Iterator[Staging]:
        """Reserve `version`, or the next free number, and hold an empty staging directory for it.

        Directories of dead exports are deleted first. On exit, an unpublished directory is deleted, and with it the
        folders of model and store if this call made them and they are empty.
        Errors: ExportError when the number exists or is being exported.
        """
        made = [folder for folder in (self.base, self.root) if not folder.exists()]
        try:
            self.base.mkdir(parents=True, exist_ok=True)
            for folder in made:
                make_readable(folder)
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
        """Make a complete staging directory readable for servers, flush it to the disk and rename it to its number.

        Returns the version's directory. Errors: ExportError when that version was created meanwhile; it is not
        changed.
        """
        make_readable(staging.path)
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
        """Remove a version by one rename, then delete its files. Errors: ExportError when there is no such version.

        A server that has loaded it still serves it from memory; a server that starts later never sees a part of it.
        """
        with ExitStack() as held:
            with locked(self.base):
                path = self.path(version)
                removed = self.base / f".removed-{version}-{self.host}{secrets.token_hex(4)}"
                held.enter_context(locked(path))
                path.rename(removed)
                sync(self.base)
            shutil.rmtree(removed)

    def clean(self, *, now: float | None = None) -> tuple[Path, ...]:
        """Delete directories of dead exports and return them; those of running exports stay.

        `now` is in seconds since 1970, by default the current time.
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
        except FileNotFoundError:  # its export has deleted it meanwhile
            return False
        if held is None:
            return False
        os.close(held)
        return True

    def _reserve(self, version: int | None) -> int:
        """After the clean-up, unfinished directories of this host belong to running exports. Those of other hosts may
        be left over; skipping their numbers only leaves a gap."""
        taken, unfinished = self._taken(), self._unfinished()
        if version is None:
            return next_version([*taken, *(entry.version for entry in unfinished)])
        if version < 1:
            raise ExportError(f"version {version} is not allowed", hint="versions are integers from 1")
        if version in taken:
            raise self._exists(version)
        if any(entry.version == version and entry.host == self.host for entry in unfinished):
            raise ExportError(
                f"version {version} of model {self.model} is being exported by another process",
                hint="wait for it, or leave out the version to get the next free one",
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
            raise ExportError(
                f"store {self.base} cannot be read", hint="choose a directory that you can read"
            ) from error
        return {number: name for name in names if (number := version_of(name)) is not None}

    def _exists(self, version: int) -> ExportError:
        return ExportError(
            f"version {version} of model {self.model} already exists in {self.root}",
            cause="a version is immutable: a server does not reload a version that it has already loaded",
            hint=f"leave out the version to publish version {next_version(self._taken())}",
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
