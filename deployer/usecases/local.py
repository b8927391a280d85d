"""A release on this machine: up, down, and watched until somebody ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from deployer import spec
from deployer.domain.serving import ServingConfig
from deployer.errors import TargetError
from deployer.targets.base import Progress
from deployer.targets.local import LocalTarget
from deployer.targets.local_process import log_tail
from deployer.targets.local_state import Engine

STATE = ".deployer"
WATCH_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class UpRequest:
    """What is to run here.

    `file` is the deployer.yaml. `serving` says which versions, labels and weights; None keeps what is in force, and on
    the first start serves the newest version of each model. `replicas` and `gateway_port` None are as described in the
    file; `cpus` is the share of each replica, None for no limit. `bound` ties every process to this one.
    """

    file: Path
    state_dir: Path | None = None
    serving: ServingConfig | None = None
    replicas: int | None = None
    cpus: float | None = None
    engine: Engine = Engine.EMBEDDED
    gateway_port: int | None = None
    bound: bool = False
    timeout: float = 120.0


def state_directory(file: Path) -> Path:
    """Where the state of a local release is kept when nobody says otherwise: `.deployer/<release>` beside its file."""
    return file.parent / STATE / spec.load(file).name


def up(request: UpRequest, progress: Progress) -> LocalTarget:
    """Start the release, or bring the running one to what is described. What this call started stops if it fails.

    Errors: SpecError, TargetError (port in use, a process that ends), WaitTimeout, ToolError (no such engine).
    """
    release = spec.load(request.file)
    target = LocalTarget(request.state_dir or request.file.parent / STATE / release.name)
    progress(f"{release.name}: {target.describe()}")
    target.up(_wanted(release, request, target), timeout=request.timeout, progress=progress)
    return target


def watch(target: LocalTarget, *, sleep: Callable[[float], None] = time.sleep) -> NoReturn:
    """Wait for as long as every process of the release runs. Errors: TargetError when one ends by itself."""
    while True:
        for process in (*target.replicas(), *target.gateways()):
            if not process.alive:
                raise TargetError(
                    f"{process.name} has ended by itself",
                    cause=log_tail(target.layout, process.name),
                    hint=f"the whole log is {target.layout.log(process.name)}",
                )
        sleep(WATCH_SECONDS)
