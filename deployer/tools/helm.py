"""The helm command. The differences between Helm 3 and Helm 4 are in `DIALECTS`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from deployer.decode import json_as
from deployer.errors import ToolError
from deployer.tools import process

HELM_HINT = "helm 3.14 or later, or 4.x, is needed; scripts/tools installs one"
OLDEST_HELM = (3, 14)
HELM_READ_TIMEOUT = 60.0
MAX_REVISIONS = 10

Values = Mapping[str, object]
"""Helm values, as in a file for -f."""

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """Flags that differ between major versions of Helm.

    `own` makes an upgrade overwrite fields of other owners. Helm 4 uses server-side apply, where a scale set by the
    deployer would be a conflict; Helm 3 patches without a check.
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


class _Output(msgspec.Struct, frozen=True):
    """Output of `helm status -o json` and `helm upgrade -o json`; only the fields in use."""

    name: str
    namespace: str
    version: int
    info: _Info
    config: dict[str, object] | None = None
    manifest: str = ""


@dataclass(frozen=True, kw_only=True)
class HelmRelease:
    """One Helm release: `values` are the user-supplied ones, without the chart's defaults; `updated` is ISO 8601."""

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
        """Whether an operation on it is running, or was killed."""
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
        """The dialect of the installed helm. Errors: ToolError when it is missing or too old."""
        if self._dialect is None:
            self._dialect = dialect_of(
                self._run("version", "--template", "{{.Version}}", timeout=HELM_READ_TIMEOUT).stdout
            )
        return self._dialect

    def release(self, name: str) -> HelmRelease | None:
        """The release of this name, None if there is none."""
        done = self._run("status", name, "-o", "json", timeout=HELM_READ_TIMEOUT, check=False)
        if done.returncode == 0:
            return _release(done.stdout, name)
        if "release: not found" in done.stderr:
            return None
        raise ToolError(
            f"helm cannot read the status of release {name}",
            cause=process.tail(done.stderr),
            hint="check --context, --namespace, and that the cluster is reachable",
        )

    def preview(self, name: str, chart: Path, values: Values) -> HelmRelease:
        """The release that `apply` would produce; changes nothing. Values are validated against the chart's schema."""
        return self._upgrade(name, chart, values, "--dry-run=server", timeout=HELM_READ_TIMEOUT)

    def apply(self, name: str, chart: Path, values: Values, *, timeout: float) -> HelmRelease:
        """Install or upgrade a release to exactly these values, without waiting for its pods.

        The caller checks that the pods become ready: helm could only report a time-out.
        """
        return self._upgrade(name, chart, values, *self.dialect.own, timeout=timeout)

    def uninstall(self, name: str, *, timeout: float) -> None:
        """Uninstall a release; objects marked to be kept (PVCs) stay."""
        self._run("uninstall", name, "--ignore-not-found", "--timeout", f"{timeout:.0f}s", timeout=timeout)

    def _upgrade(self, name: str, chart: Path, values: Values, *flags: str, timeout: float) -> HelmRelease:
        done = self._run(
            *("upgrade", "--install", name, str(chart), "--reset-values", "--values", "-", "-o", "json"),
            *("--history-max", str(MAX_REVISIONS), *flags),
            timeout=timeout,
            stdin=msgspec.json.encode(values).decode(),
        )
        return _release(done.stdout, name)

    def _run(self, *arguments: str, timeout: float, check: bool = True, stdin: str | None = None) -> process.Completed:
        argv = (self._program, *arguments, *(self._where if arguments[0] != "version" else ()))
        return process.run(argv, timeout=timeout, check=check, stdin=stdin, hint=HELM_HINT)


def dialect_of(version: str) -> Dialect:
    """The dialect for the output of `helm version`. Errors: ToolError for a helm that is too old or unknown."""
    match = re.match(r"v?(\d+)\.(\d+)", version.strip())
    if match is None:
        raise ToolError(f"helm reports its version as {version.strip()!r}, which is not a version", hint=HELM_HINT)
    found = (int(match[1]), int(match[2]))
    if found < OLDEST_HELM or found[0] not in DIALECTS:
        raise ToolError(f"helm {version.strip()} is not supported", hint=HELM_HINT)
    return DIALECTS[found[0]]


def _release(text: str, name: str) -> HelmRelease:
    # Helm prints warnings of the API server before the document.
    output = _decode(text[text.find("{") :], _Output, name)
    return HelmRelease(
        name=output.name,
        revision=output.version,
        status=output.info.status,
        updated=output.info.last_deployed,
        description=output.info.description,
        values=output.config or {},
        manifest=output.manifest,
    )


def _decode(text: str, shape: type[_T], name: str) -> _T:
    try:
        return json_as(text, shape)
    except msgspec.MsgspecError as error:
        raise ToolError(f"the output of helm about release {name} cannot be parsed", hint=HELM_HINT) from error
