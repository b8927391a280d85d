"""A model_config that one pod follows and the others do not.

All pods of a Deployment mount the same ConfigMap; what differs between them is their annotations. The chart's side-car
gives the server what its pod's annotation says, and what the ConfigMap says while that is empty
(`ownModelConfig.enabled`). A pod that starts while pods differ finds what it is to follow under a key of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from deployer.errors import TargetError
from deployer.targets.cluster.api import NOT_FOUND, ApiServer, Refused, pod_path
from deployer.targets.cluster.live_config import LiveConfig
from deployer.targets.cluster.objects import Pod

OWN_CONFIG = "tfserving-deployer/model-config"
"""Annotation of a pod with the model_config that it alone follows; it is there, and empty, where one could be."""


class OwnConfigs:
    """What pods follow beside the release. `pods` lists them, `newcomer` is what those to come find."""

    def __init__(
        self, api: ApiServer, *, namespace: str, newcomer: LiveConfig, pods: Callable[[], Sequence[Pod]]
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._newcomer = newcomer
        self._pods = pods

    def require(self) -> None:
        """Errors: TargetError when pods run that can only follow the release."""
        if without := [pod.name for pod in self._pods() if OWN_CONFIG not in pod.metadata.annotations]:
            raise TargetError(
                f"{without[0]} and the other pods of its release cannot be emptied one by one",
                cause="they were deployed to follow one model_config together",
                hint="set serving.rollout_policy: resource-preserving in deployer.yaml and `deployer deploy` once",
            )

    def read(self) -> Mapping[str, str]:
        """What each pod follows that does not follow the release, by name."""
        able = {pod.name: pod.metadata.annotations[OWN_CONFIG] for pod in self._able()}
        if not able:
            return {}
        newcomer = (self._newcomer.read() or "") if "" in able.values() else ""
        followed = {name: text or newcomer for name, text in able.items()}
        return {name: text for name, text in followed.items() if text}

    def put(self, name: str, text: str | None) -> None:
        """Have a pod follow this one from now on; None: what the others follow."""
        change = {"metadata": {"annotations": {OWN_CONFIG: text or ""}}}
        try:
            self._api.patch(pod_path(self._namespace, name), change)
        except Refused as error:
            if error.code != NOT_FOUND:  # a pod that has gone meanwhile follows nothing
                raise

    def newcomer(self) -> str | None:
        """What pods to come will follow; None when it is the release."""
        return self._newcomer.read()

    def put_newcomer(self, text: str | None, *, release: str) -> None:
        """Decide that. Those that run go on with what they follow, be it the `release` or what newcomers followed."""
        before = self._newcomer.read()
        if text is not None:
            for pod in self._able():
                if not pod.metadata.annotations[OWN_CONFIG]:
                    self.put(pod.name, release if before is None else before)
        if text != before:
            self._newcomer.write(text)

    def _able(self) -> tuple[Pod, ...]:
        return tuple(pod for pod in self._pods() if not pod.leaving and OWN_CONFIG in pod.metadata.annotations)
