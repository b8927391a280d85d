"""The two configuration texts of a release in a cluster, and what holds them: Helm releases, or the deployer alone."""

from __future__ import annotations

from collections.abc import Mapping

from deployer.errors import TargetError
from deployer.targets.cluster.api import ApiServer, Place
from deployer.targets.cluster.helm_releases import HelmReleases, gateway_values, models_of
from deployer.targets.cluster.live_config import LiveConfig, as_helm_writes
from deployer.targets.cluster.names import GATEWAY, GATEWAY_KEY, MODEL_SERVER, MODELS_KEY, Names


class ConfigTexts:
    """The texts by component: `MODEL_SERVER` (model_config) and `GATEWAY` (settings).

    Errors of every method: TargetError.

    Where a Helm release holds a text, its values must follow what was written; `record` writes them. Where the
    ConfigMap is live (`models.source: live` of the charts) there is nothing to follow.
    """

    def __init__(self, names: Names, place: Place, api: ApiServer, helm: HelmReleases) -> None:
        self._names = names
        self._place = place
        self._helm = helm
        self._configs = {
            MODEL_SERVER: LiveConfig(api, namespace=place.namespace, name=names.models, key=MODELS_KEY),
            GATEWAY: LiveConfig(api, namespace=place.namespace, name=names.gateway_config, key=GATEWAY_KEY),
        }
        self._unrecorded = {MODEL_SERVER, GATEWAY}
        """Components whose Helm values may differ from their text; unknown at the start, so both."""

    def read(self, component: str) -> str:
        """The current text. Errors: TargetError when nothing is installed."""
        text = self._configs[component].read()
        if text is None:
            raise TargetError(
                f"release {self._names.release} is not installed in {self._place}",
                hint="`deployer deploy` installs it; -n and --context select another place",
            )
        return text

    def write(self, component: str, text: str) -> None:
        """Replace the text that was last read.

        Errors: SpecError for a text that the chart could not render, WriteConflict if it was changed by others.
        """
        if component == MODEL_SERVER:
            models_of(text)
        else:
            gateway_values(text)
            text = as_helm_writes(text)
        self._unrecorded.add(component)
        self._configs[component].write(text)

    def restore(self, component: str, text: str) -> None:
        """Write the text that Helm wrote last, and give Helm the ownership back. Errors: WriteConflict."""
        self._configs[component].write(text)
        self._configs[component].disown()

    def live(self) -> Mapping[str, str] | None:
        """The texts where only the deployer writes them, None where Helm releases hold them.

        A text that has not been written yet is missing. The next `write` is based on this read.
        """
        texts = {component: config.read() for component, config in self._configs.items()}
        if not any(config.is_live for config in self._configs.values()):
            return None
        return {component: text for component, text in texts.items() if text is not None}

    def give_to_helm(self) -> None:
        """Give up the ownership of live texts, before a Helm release takes them over."""
        for config in self._configs.values():
            config.disown()

    def unrecorded(self) -> tuple[str, ...]:
        """The components that `record` has work for."""
        return tuple(component for component in (MODEL_SERVER, GATEWAY) if component in self._unrecorded)

    def record(self, component: str, *, replicas: int) -> bool:
        """Let the values of the Helm release follow the text. Returns whether Helm has changed the text's form.

        `replicas` is the current number: helm would reset a scale that is not in the values.
        """
        config, text = self._configs[component], self.read(component)
        if not config.is_live:
            put = self._helm.put_models if component == MODEL_SERVER else self._helm.put_gateway
            put(text, replicas=replicas)
            config.disown()
        self._unrecorded.discard(component)
        return component == GATEWAY and not config.is_live and self.read(component) != text
