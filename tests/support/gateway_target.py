"""A release that is one gateway, for what asks a target only how to reach it and with which configuration."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast

import yaml

from deployer.targets.base import GatewayReplica, Target


class GatewayTarget:
    """As much of a `Target` as asking a gateway needs."""

    kind = "local"

    def __init__(self, url: str, config: Mapping[str, object]) -> None:
        self.url, self.config = url, config

    def gateways(self) -> tuple[GatewayReplica, ...]:
        return (GatewayReplica(name="gateway-0", url=self.url),)

    def reachable_gateways(self) -> AbstractContextManager[tuple[GatewayReplica, ...]]:
        return nullcontext(self.gateways())

    def gateway_config(self) -> str:
        return str(yaml.safe_dump(dict(self.config)))


def gateway_target(url: str, config: Mapping[str, object]) -> Target:
    """The gateway at `url`, which runs with the configuration in `config`."""
    return cast(Target, GatewayTarget(url, config))


def main(url: str, config: str, source: str, output: str) -> None:
    """Run a batch until it ends or somebody kills it: `python gateway_target.py URL CONFIG INPUT OUTPUT`."""
    from deployer.release.batch import job, run

    run.COMMIT_SECONDS = 0.0  # type: ignore[misc]  # after each chunk, so that a short run has something to go on from
    request = job.BatchRequest(model="m", inputs=(source,), output=Path(output), batch=10, shards=2)
    target = gateway_target(url, yaml.safe_load(Path(config).read_text()))
    run.batch(target, request, lambda _: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
