"""A model_config for a single pod.

All pods of a Deployment mount the same ConfigMap, but each pod has its own annotations. The chart's sidecar gives the
server the model_config from the pod's annotation, or from the ConfigMap if that annotation is empty
(`ownModelConfig.enabled`). A pod that starts during a rollout reads a separate key of the ConfigMap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from deployer.errors import TargetError
from deployer.targets.cluster.api import NOT_FOUND, ApiServer, Refused, pod_path
from deployer.targets.cluster.live_config import LiveConfig
from deployer.targets.cluster.objects import Pod

OWN_CONFIG = "tfserving-deployer/model-config"
"""Annotation of a pod with its own model_config. It is present but empty on pods that could have one."""


class OwnConfigs:
    """The model_configs of single pods. `pods` lists the pods; `newcomer` is the key that new pods read."""

    def __init__(
        self, api: ApiServer, *, namespace: str, newcomer: LiveConfig, pods: Callable[[], Sequence[Pod]]
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._newcomer = newcomer
        self._pods = pods

    def require(self) -> None:
        """Errors: TargetError when there are pods that can only use the model_config of the release."""
        if without := [pod.name for pod in self._pods() if OWN_CONFIG not in pod.metadata.annotations]:
            raise TargetError(
                f"{without[0]} and the other pods of its release cannot be emptied one by one",
                cause="they were deployed to share one model_config",
                hint="set serving.rollout_policy: resource-preserving in deployer.yaml and run `deployer deploy` once",
            )

    def read(self) -> Mapping[str, str]:
        """The model_config of each pod that does not use that of the release, by name."""
        annotated = {pod.name: pod.metadata.annotations[OWN_CONFIG] for pod in self._annotated()}
        if not annotated:
            return {}
        newcomer = (self._newcomer.read() or "") if "" in annotated.values() else ""
        followed = {name: text or newcomer for name, text in annotated.items()}
        return {name: text for name, text in followed.items() if text}

    def put(self, name: str, text: str | None) -> None:
        """Give a pod its own model_config; None: that of the release again."""
        change = {"metadata": {"annotations": {OWN_CONFIG: text or ""}}}
        try:
            self._api.patch(pod_path(self._namespace, name), change)
        except Refused as error:
            if error.code != NOT_FOUND:  # the pod was deleted meanwhile
                raise

    def newcomer(self) -> str | None:
        """The own model_config of new pods; None if they use that of the release."""
        return self._newcomer.read()

    def put_newcomer(self, text: str | None, *, release: str) -> None:
        """Set that. Running pods keep what they use now: that of the `release`, or the previous one of new pods."""
        before = self._newcomer.read()
        if text is not None:
            for pod in self._annotated():
                if not pod.metadata.annotations[OWN_CONFIG]:
                    self.put(pod.name, release if before is None else before)
        if text != before:
            self._newcomer.write(text)

    def _annotated(self) -> tuple[Pod, ...]:
        return tuple(pod for pod in self._pods() if not pod.terminating and OWN_CONFIG in pod.metadata.annotations)
