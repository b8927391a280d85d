"""The error classes, as one tree. Only `deployer.cli` turns an error into text and an exit code.

DeployerError            1   a bug, or an error that fits nowhere below
├─ UsageError            2   an invalid flag or argument
├─ SpecError             3   deployer.yaml or a feature spec; flags that contradict
├─ ExportError           4   unreadable SavedModel, no batchable signature, parity, version exists
├─ ToolError             5   helm, kind or docker absent, too old, or failed
├─ TargetError           6   unreachable, forbidden, or not in the state that the verb needs
├─ GateFailed            7   rolled back or paused by a gate
├─ WaitTimeout           8   a wait timed out
└─ ExperimentInvalid     9   the load generator lagged, or no steady state
Interrupted by Ctrl-C: 130.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class DeployerError(Exception):
    """An error for the user: what happened, why, and what to do.

    `message` says what happened, `cause` why (empty when the message already says it), `hint` what to do. The original
    exception is chained with `raise … from`.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", cause: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self._cause = cause

    @property
    def cause(self) -> str:
        """Why it happened, one line if possible; empty when the message already says it."""
        text = self._cause or _words(self.__cause__, self.message)
        return "" if self.message.endswith(text) else text


class UsageError(DeployerError):
    """An invalid flag or argument."""

    exit_code = 2


class SpecError(DeployerError):
    """A description (deployer.yaml, features.yaml, flags together) that contradicts itself or its schema."""

    exit_code = 3


class ExportError(DeployerError):
    """A model that cannot be exported or stored as a version."""

    exit_code = 4


class ToolError(DeployerError):
    """An external program that is absent, too old, or failed."""

    exit_code = 5


class TargetError(DeployerError):
    """A target that cannot be reached, refuses, or is not in the state that the verb needs."""

    exit_code = 6


class GateFailed(DeployerError):
    """A gate failed; the rollout was rolled back or paused."""

    exit_code = 7


class WaitTimeout(DeployerError):
    """A wait timed out; the message names what was still missing."""

    exit_code = 8


class ExperimentInvalid(DeployerError):
    """Invalid measurements: the load generator lagged, or there was no steady state."""

    exit_code = 9


_DISK = {
    errno.ENOSPC: "free space on the disk and try again",
    errno.EDQUOT: "free space within the quota and try again",
    errno.EFBIG: "raise the limit on file size (ulimit -f)",
    errno.EROFS: "the file system is mounted read-only; choose a writable path",
    errno.EACCES: "this user may not write there; change the permissions or choose another path",
    errno.EPERM: "this user may not write there; change the permissions or choose another path",
    errno.ENOTDIR: "a file exists where a directory is needed; remove it or choose another path",
}


def of_disk(error: OSError, kind: type[DeployerError] = UsageError) -> DeployerError | None:
    """The error to show when a file cannot be written (disk full, read-only, forbidden); None for any other error."""
    if error.errno not in _DISK:
        return None
    where = f"{error.filename} cannot be written" if error.filename else "a file cannot be written"
    return kind(where, cause=_words(error, where), hint=_DISK[error.errno])


@contextmanager
def disk_errors(kind: type[DeployerError]) -> Iterator[None]:
    """Within this block, a failed write (disk full, read-only, forbidden) is raised as an error of `kind`."""
    try:
        yield
    except OSError as error:
        known = of_disk(error, kind)
        if known is None:
            raise
        raise known from error


def _words(error: BaseException | None, message: str) -> str:
    """An exception as text: an OSError without its number, and its file named only once."""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror[:1].lower() + error.strerror[1:]
        named = error.filename is not None and str(error.filename) not in message
        return f"{text}: {error.filename}" if named else text
    return str(error) if error else ""
