"""What `deployer doctor` examines of a local release: processes, their logs, and the directories of the versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deployer.targets.base import GatewayReplica, Replica, Target
from deployer.targets.local.process import log_tail
from deployer.targets.local.state import Layout
from deployer.targets.serving_view import view
from deployer.targets.snapshot import EndedProcess, LocalSnapshot
from tfserving.config import ConfigError, ModelServerConfig, Specific


def take(target: Target, layout: Layout) -> LocalSnapshot:
    """A snapshot of the release in `layout`. Errors: TargetError when there is none."""
    processes: tuple[Replica | GatewayReplica, ...] = (*target.replicas(), *target.gateways())
    serving = view(target)
    return LocalSnapshot(
        release=layout.directory.name,
        gateways=len(target.gateways()),
        ended=tuple(
            EndedProcess(name=one.name, log=str(layout.log(one.name)), log_tail=log_tail(layout, one.name))
            for one in processes
            if not one.alive
        ),
        serving=serving,
        absent=tuple(_absent(serving.model_config)),
        addresses=tuple(replica.grpc for replica in target.replicas()),
        logs={one.name: str(layout.log(one.name)) for one in processes if one.alive},
    )


def _absent(text: str) -> Iterator[tuple[str, int, str]]:
    try:
        models = ModelServerConfig.parse(text).models
    except ConfigError:
        return  # a finding of its own
    for model in models:
        for version in model.policy.versions if isinstance(model.policy, Specific) else ():
            path = Path(model.base_path, str(version))
            if not path.is_dir():
                yield model.name, version, str(path)
