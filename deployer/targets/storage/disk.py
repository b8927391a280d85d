"""Copying, flushing and locking of files and directories, for publishing."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deployer.errors import ExportError

OnStep = Callable[[str], None]
"""Called before each step of a publication with its name, e.g. "sync variables/variables.index"."""


def no_step(step: str) -> None:
    """The default OnStep: does nothing."""


def copy_tree(source: Path, target: Path, *, on_step: OnStep = no_step) -> None:
    """Copy every file below `source` into the existing directory `target`; links become what they point to.

    Errors: ExportError naming the file that could not be copied, and a link that leaves `source`: nothing was copied
    then, because what it points to was never meant to be published.
    """
    require_links_inside(source)
    for folder, folders, names in os.walk(source, followlinks=True):
        relative = Path(folder).relative_to(source)
        for name in folders:
            (target / relative / name).mkdir(exist_ok=True)
        for name in sorted(names):
            on_step(f"copy {(relative / name).as_posix()}")
            try:
                shutil.copyfile(Path(folder) / name, target / relative / name)
            except OSError as error:
                raise ExportError(
                    f"{Path(folder) / name} cannot be copied", hint="check the disk and the permissions"
                ) from error


def require_links_inside(root: Path) -> None:
    """Reject a symbolic link below `root` that points outside of it or to a directory around itself.

    Errors: ExportError naming the link and what it points to.
    """
    real = root.resolve()
    for folder, folders, names in os.walk(root):
        for path in (Path(folder) / name for name in [*folders, *names]):
            if not path.is_symlink():
                continue
            if not path.exists():
                raise ExportError(f"{path} is a link to nothing", hint="remove it, or restore what it points to")
            seen = path.resolve()
            if not seen.is_relative_to(real):
                raise ExportError(
                    f"{path} is a link to {seen}, which is outside of {root}",
                    hint=f"if it belongs to the model, copy it with its content: cp -rL {root} COPY",
                )
            if path.parent.resolve().is_relative_to(seen):
                raise ExportError(f"{path} is a link to a directory around itself", hint="remove it")


def make_readable(root: Path) -> None:
    """Let every user read what is below `root`: model servers in pods and containers run as another user.

    Under `umask 077` they could not open a version. Whoever may not see it is kept out by the directory of the store.
    Errors: OSError.
    """
    for folder, _, names in os.walk(root):
        _add_mode(Path(folder), 0o055)
        for name in names:
            _add_mode(Path(folder) / name, 0o044)


def _add_mode(path: Path, bits: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & bits != bits:
        path.chmod(mode | bits)


def sync_tree(root: Path, *, on_step: OnStep = no_step) -> None:
    """Flush all files and directories below `root`, deepest first. Errors: OSError."""
    for folder, _, names in os.walk(root, topdown=False):
        for name in [*sorted(names), "."]:
            path = Path(folder) / name
            on_step(f"sync {path.relative_to(root).as_posix()}")
            sync(path)


def sync(path: Path) -> None:
    """Flush one file or directory to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock(directory: Path) -> int:
    """Wait for the lock of a directory; it is released when the returned handle is closed, or the process dies.

    The lock stays with a renamed directory. Errors: ExportError if the file system does not support locks.
    """
    return _flock(directory, fcntl.LOCK_EX)


def try_lock(directory: Path) -> int | None:
    """As `lock`, but returns None at once if another process holds it."""
    try:
        return _flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory within a block."""
    handle = lock(directory)
    try:
        yield
    finally:
        os.close(handle)


def _flock(directory: Path, how: int) -> int:
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, how)
    except OSError as error:
        os.close(handle)
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF):
            raise
        raise ExportError(
            f"the file system of {directory} does not support locks, so two exports could write the same version",
            hint="export to a local directory, then publish that to this store",
        ) from error
    return handle
