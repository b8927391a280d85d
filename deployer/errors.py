"""Everything that can go wrong, in one tree. `deployer.cli` alone turns an error into text and an exit code.

DeployerError            1   a bug, or an error that fits nowhere below
├─ UsageError            2   a flag or an argument that cannot be meant
├─ SpecError             3   deployer.yaml or a feature spec; flags that contradict
├─ ExportError           4   unreadable SavedModel, no batchable signature, parity, version exists
├─ ToolError             5   helm, kind or docker absent, too old, or failed
├─ TargetError           6   unreachable, forbidden, or not in the state that the verb needs
├─ GateFailed            7   rolled back or paused by a gate
├─ WaitTimeout           8   a bounded wait ran out
└─ ExperimentInvalid     9   the load generator lagged, or no steady state
Interrupted by Ctrl-C: 130.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class DeployerError(Exception):
    """An error that a user can read: what happened, why, and what to do.

    `message` is what happened; `cause` says why where that is another fact; `hint` names the remedy. The exception
    that led here is chained with `raise … from`.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", cause: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self._cause = cause

    @property
    def cause(self) -> str:
        """Why it happened, in one line where one is enough; empty when the message says it all."""
        text = self._cause or _words(self.__cause__, self.message)
        return "" if self.message.endswith(text) else text


class UsageError(DeployerError):
    """A flag or an argument that cannot be meant."""

    exit_code = 2


class SpecError(DeployerError):
    """A description (deployer.yaml, features.yaml, flags together) that contradicts itself or its schema."""

    exit_code = 3


class ExportError(DeployerError):
    """A model that cannot become a version of the store."""

    exit_code = 4


class ToolError(DeployerError):
    """An external program that is absent, too old, or failed."""

    exit_code = 5


class TargetError(DeployerError):
    """A target that cannot be reached, refuses, or is not in the state that the verb needs."""

    exit_code = 6


class GateFailed(DeployerError):
    """A gate said no; the rollout was rolled back or paused."""

    exit_code = 7


class WaitTimeout(DeployerError):
    """A bounded wait ran out; the message names what was still missing."""

    exit_code = 8


class ExperimentInvalid(DeployerError):
    """Figures that must not be believed: the load generator lagged, or nothing was steady."""

    exit_code = 9


_DISK = {
    errno.ENOSPC: "make room on the disk, and call again",
    errno.EDQUOT: "make room in the quota, and call again",
    errno.EFBIG: "a limit on the size of files is in force (ulimit -f); raise it",
    errno.EROFS: "the file system is mounted read-only; name a place that can be written",
    errno.EACCES: "this user may not write there; change the permissions, or name another place",
    errno.EPERM: "this user may not write there; change the permissions, or name another place",
    errno.ENOTDIR: "a file is in the way; remove it, or name another place",
}


def of_disk(error: OSError, kind: type[DeployerError] = UsageError) -> DeployerError | None:
    """What to tell a user when a disk refuses (full, read-only, forbidden); None for an error of another nature."""
    if error.errno not in _DISK:
        return None
    where = f"{error.filename} cannot be written" if error.filename else "a file cannot be written"
    return kind(where, cause=_words(error, where), hint=_DISK[error.errno])


@contextmanager
def disk_errors(kind: type[DeployerError]) -> Iterator[None]:
    """Within this block, what a disk refuses is an error of `kind`."""
    try:
        yield
    except OSError as error:
        known = of_disk(error, kind)
        if known is None:
            raise
        raise known from error


def _words(error: BaseException | None, message: str) -> str:
    """An exception for a person: that of the operating system without its number, and its file named once."""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror[:1].lower() + error.strerror[1:]
        named = error.filename is not None and str(error.filename) not in message
        return f"{text}: {error.filename}" if named else text
    return str(error) if error else ""
