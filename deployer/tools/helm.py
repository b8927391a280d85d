"""Helm by subprocess. What differs between Helm 3 and Helm 4 is in one dictionary and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from deployer.errors import ToolError
from deployer.tools import process

HINT = "scripts/tools gets one; helm 3.14 or newer is needed, 4.x included"
OLDEST = (3, 14)
READ_TIMEOUT = 60.0
HISTORY = 10

Values = Mapping[str, object]
"""A values document: what a person would write with -f."""

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """Flags that one major version of Helm spells in its own way.

    `own` makes an upgrade win over other writers of the same fields. Helm 4 applies on the server, where a scale that
    the deployer has set would be a conflict; Helm 3 patches and asks nobody.
    """

    own: tuple[str, ...]


DIALECTS: Mapping[int, Dialect] = {
    3: Dialect(own=()),
    4: Dialect(own=("--force-conflicts",)),
}


class _Info(msgspec.Struct, frozen=True):
    status: str
    last_deployed: str = ""
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    """`helm status -o json` and `helm upgrade -o json`, as far as it is needed."""

    name: str
    namespace: str
    version: int
    info: _Info
    config: dict[str, object] | None = None
    manifest: str = ""


@dataclass(frozen=True, kw_only=True)
class HelmRelease:
    """One Helm release: `values` are those that were given, without the chart's own; `updated` is ISO 8601."""

    name: str
    revision: int
    status: str
    updated: str
    description: str
    values: Values
    manifest: str

    @property
    def deployed(self) -> bool:
        """Whether the last operation on it succeeded."""
        return self.status == "deployed"

    @property
    def pending(self) -> bool:
        """Whether an operation on it runs, or was killed while it ran."""
        return self.status.startswith("pending-")


class Helm:
    """Helm for one context and namespace. Errors of every method: ToolError, WaitTimeout."""

    def __init__(self, *, namespace: str, context: str = "", kubeconfig: str = "", program: str = "helm") -> None:
        self._program = program
        self.namespace = namespace
        self._where: tuple[str, ...] = ("--namespace", namespace)
        self._where += ("--kube-context", context) if context else ()
        self._where += ("--kubeconfig", kubeconfig) if kubeconfig else ()
        self._dialect: Dialect | None = None

    @property
    def dialect(self) -> Dialect:
        """The dialect of the helm that is there. Errors: ToolError when it is absent or too old."""
        if self._dialect is None:
            self._dialect = dialect_of(self._run("version", "--template", "{{.Version}}", timeout=READ_TIMEOUT).stdout)
        return self._dialect

    def release(self, name: str) -> HelmRelease | None:
        """A release as it is, None when there is none of this name."""
        done = self._run("status", name, "-o", "json", timeout=READ_TIMEOUT, check=False)
        if done.returncode == 0:
            return _release(done.stdout, name)
        if "release: not found" in done.stderr:
            return None
        raise ToolError(
            f"helm cannot tell the status of release {name}",
            cause=process.tail(done.stderr),
            hint="check --context, --namespace and that the cluster answers",
        )

    def preview(self, name: str, chart: Path, values: Values) -> HelmRelease:
        """What `apply` would make of a release; nothing is changed. The values are held against the chart's schema."""
        return self._upgrade(name, chart, values, "--dry-run=server", timeout=READ_TIMEOUT)

    def apply(self, name: str, chart: Path, values: Values, *, timeout: float) -> HelmRelease:
        """Install or upgrade a release to exactly these values, without waiting for its pods.

        Whether the pods come up is for the caller to prove: helm could only say that time ran out.
        """
        return self._upgrade(name, chart, values, *self.dialect.own, timeout=timeout)

    def uninstall(self, name: str, *, timeout: float) -> None:
        """Remove a release; objects marked to be kept (claims) stay."""
        self._run("uninstall", name, "--ignore-not-found", "--timeout", f"{timeout:.0f}s", timeout=timeout)

    def _upgrade(self, name: str, chart: Path, values: Values, *flags: str, timeout: float) -> HelmRelease:
        done = self._run(
            *("upgrade", "--install", name, str(chart), "--reset-values", "--values", "-", "-o", "json"),
            *("--history-max", str(HISTORY), *flags),
            timeout=timeout,
            stdin=msgspec.json.encode(values).decode(),
        )
        return _release(done.stdout, name)

    def _run(self, *arguments: str, timeout: float, check: bool = True, stdin: str | None = None) -> process.Completed:
        argv = (self._program, *arguments, *(self._where if arguments[0] != "version" else ()))
        return process.run(argv, timeout=timeout, check=check, stdin=stdin, hint=HINT)


def dialect_of(version: str) -> Dialect:
    """The dialect of what `helm version` printed. Errors: ToolError for a helm that is too old or unknown."""
    match = re.match(r"v?(\d+)\.(\d+)", version.strip())
    if match is None:
        raise ToolError(f"helm calls itself {version.strip()!r}, which is no version", hint=HINT)
    found = (int(match[1]), int(match[2]))
    if found < OLDEST or found[0] not in DIALECTS:
        raise ToolError(f"helm {version.strip()} is not supported", hint=HINT)
    return DIALECTS[found[0]]


def _release(text: str, name: str) -> HelmRelease:
    # Helm prints warnings of the API server before the document.
    answer = _decode(text[text.find("{") :], _Answer, name)
    return HelmRelease(
        name=answer.name,
        revision=answer.version,
        status=answer.info.status,
        updated=answer.info.last_deployed,
        description=answer.info.description,
        values=answer.config or {},
        manifest=answer.manifest,
    )


def _decode(text: str, shape: type[_T], name: str) -> _T:
    try:
        return msgspec.json.decode(text, type=shape)
    except msgspec.MsgspecError as error:
        raise ToolError(f"helm's answer about release {name} cannot be read", hint=HINT) from error
