"""A release as two Helm releases; their values hold versions, labels and weights."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml

from deployer.domain.location import MODELS_MOUNT
from deployer.errors import SpecError, TargetError
from deployer.targets.cluster.names import Names
from deployer.tools.helm import Helm, HelmRelease, Values
from gateway.settings import SettingsError, parse_settings
from gateway.spec.reading.text import Loader, load
from tfserving.config import ConfigError, ModelServerConfig, Specific

TF_SERVING_CHART = "tf-serving"
GATEWAY_CHART = "gateway"
SET_BY_CHART = ("version", "backends")
"""Keys of the gateway's settings that the chart sets itself."""

APPLY_TIMEOUT = 120.0
PENDING_TIMEOUT, PENDING_POLL_SECONDS = 20.0, 0.5
"""How long to wait for another helm that works on the release, and how often to check. The helm of a killed deployer
ends by itself."""


def charts_directory() -> Path:
    """The directory of the charts: next to the package in a checkout, inside it when installed.

    Errors: TargetError.
    """
    package = Path(__file__).resolve().parents[2]
    for place in (package / "charts", package.parent / "charts"):
        if (place / TF_SERVING_CHART / "Chart.yaml").exists():
            return place
    raise TargetError("the charts are not installed", hint="reinstall the package, or run from a checkout")


@dataclass(frozen=True, kw_only=True)
class Change:
    """The planned upgrade of one Helm release; `diff` is a unified diff of manifests, empty if nothing changes."""

    name: str
    chart: Path
    values: Values
    before: HelmRelease | None
    diff: str

    @property
    def needed(self) -> bool:
        """Whether the upgrade would change anything."""
        before = self.before
        return before is None or not before.deployed or bool(self.diff) or before.values != self.values


class HelmReleases:
    """The two Helm releases of one release. Errors of every method: ToolError, WaitTimeout."""

    def __init__(
        self,
        names: Names,
        helm: Helm,
        *,
        charts: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.names = names
        self._sleep = sleep
        self._helm = helm
        self._charts = charts

    @property
    def charts(self) -> Path:
        """The directory of the charts."""
        return self._charts or charts_directory()

    def tf_serving(self) -> HelmRelease | None:
        """The model servers' release, None when it is not installed."""
        return self._helm.release(self.names.tf_serving)

    def gateway(self) -> HelmRelease | None:
        """The gateways' release, None when it is not installed."""
        return self._helm.release(self.names.gateway)

    def change(self, chart: str, values: Values) -> Change:
        """Plan the upgrade of one chart (`TF_SERVING_CHART`, `GATEWAY_CHART`) to these values; changes nothing."""
        name = self.names.tf_serving if chart == TF_SERVING_CHART else self.names.gateway
        before = self._helm.release(name)
        if before is not None and before.pending:
            raise self._busy(before)
        after = self._helm.preview(name, self.charts / chart, values)
        diff = manifest_diff(before.manifest if before else "", after.manifest, name)
        return Change(name=name, chart=self.charts / chart, values=_plain(values), before=before, diff=diff)

    def apply(self, change: Change, *, timeout: float = APPLY_TIMEOUT) -> int:
        """Apply a change; returns the new revision. Does not wait for pods."""
        return self._helm.apply(change.name, change.chart, change.values, timeout=timeout).revision

    def put_models(self, text: str, *, replicas: int) -> None:
        """Write the versions and labels of a model_config into the values of the model servers' release. Other values
        stay. Does nothing if the values already match.

        `replicas` is the current number: helm would reset a scale that is not in the values.

        Errors: SpecError for a text that the chart cannot render, TargetError when nothing is installed.
        """
        self._put(TF_SERVING_CHART, {"models": models_of(text)}, replicas)

    def put_gateway(self, text: str, *, replicas: int) -> None:
        """Write these settings into the values of the gateways' release, like `put_models`.

        Errors: SpecError for settings that the gateway would reject, TargetError when nothing is installed.
        """
        self._put(GATEWAY_CHART, {"config": gateway_values(text)}, replicas)

    def uninstall(self, *, timeout: float) -> tuple[str, ...]:
        """Uninstall both, gateways first; the PVC of the models stays. Returns the uninstalled releases."""
        installed = [r.name for r in (self.gateway(), self.tf_serving()) if r is not None]
        for name in installed:
            self._helm.uninstall(name, timeout=timeout)
        return tuple(installed)

    @property
    def namespace(self) -> str:
        """The namespace of both."""
        return self._helm.namespace

    def _put(self, chart: str, values: Values, replicas: int) -> None:
        found = self._installed(chart)
        wanted = _plain({**_scaled(found.values, replicas), **values})
        if not found.deployed or found.values != wanted:
            self._helm.apply(found.name, self.charts / chart, wanted, timeout=APPLY_TIMEOUT)

    def _busy(self, found: HelmRelease) -> TargetError:
        return TargetError(
            f"Helm release {found.name} is in state {found.status}",
            cause="another helm is working on it, or was killed",
            hint=f"wait for it; if none is running: `helm rollback {found.name} -n {self.namespace}`, "
            "or `helm uninstall` if it was the first install",
        )

    def _settled(self, chart: str) -> HelmRelease | None:
        """The release, once no other helm works on it. Errors: TargetError after `PENDING_TIMEOUT`."""
        waited = 0.0
        while True:
            found = self.tf_serving() if chart == TF_SERVING_CHART else self.gateway()
            if found is None or not found.pending:
                return found
            if waited >= PENDING_TIMEOUT:
                raise self._busy(found)
            self._sleep(PENDING_POLL_SECONDS)
            waited += PENDING_POLL_SECONDS

    def _installed(self, chart: str) -> HelmRelease:
        found = self._settled(chart)
        if found is None:
            raise TargetError(
                f"release {self.names.release} is not installed in namespace {self.namespace}",
                hint="`deployer deploy` installs it",
            )
        self._same_chart(found, chart)
        return found

    def _same_chart(self, found: HelmRelease, chart: str) -> None:
        """Check that the chart version is unchanged: a change of versions or weights must not restart every pod."""
        wanted = f"{chart}-{_chart_version(self.charts / chart)}"
        if f"helm.sh/chart: {wanted}\n" not in found.manifest:
            raise TargetError(
                f"{found.name} was installed with another chart version than {wanted}",
                hint="run `deployer deploy` to upgrade it, then try again",
            )


def _scaled(values: Values, replicas: int) -> Values:
    """The values with the current scale. With an autoscaler the chart sets no scale, so nothing can be reset."""
    autoscaling = values.get("autoscaling")
    autoscaled = isinstance(autoscaling, dict) and autoscaling.get("enabled")
    return values if autoscaled else {**values, "replicaCount": replicas}


def models_of(text: str) -> list[dict[str, object]]:
    """A model_config as the value `models` of the tf-serving chart. Errors: SpecError."""
    try:
        config = ModelServerConfig.parse(text)
    except ConfigError as error:
        raise SpecError("the model_config cannot be parsed", hint="`deployer render` writes a valid one") from error
    found: list[dict[str, object]] = []
    for model in config.models:
        if not isinstance(model.policy, Specific):
            raise SpecError(
                f"model {model.name} has no fixed list of versions",
                hint="list each version; labels need specific versions",
            )
        entry: dict[str, object] = {"name": model.name}
        if model.base_path != f"{MODELS_MOUNT}/{model.name}":  # the chart's default is left to the chart
            entry["basePath"] = model.base_path
        found.append({**entry, "versions": list(model.policy.versions), "labels": dict(model.labels)})
    return found


def gateway_values(text: str) -> dict[str, object]:
    """The gateway's settings as the value `config` of its chart. Errors: SpecError."""
    try:
        parse_settings(text)
    except SettingsError as error:
        raise SpecError("the gateway configuration is invalid", hint="`deployer render` writes a valid one") from error
    document = load(text)
    return {key: value for key, value in document.items() if key not in SET_BY_CHART}


def manifest_diff(before: str, after: str, name: str) -> str:
    """Unified diff of two manifests, sorted by object, so that a moved object is not a change."""
    lines = difflib.unified_diff(
        _sorted_objects(before), _sorted_objects(after), f"{name} (live)", f"{name} (new)", lineterm=""
    )
    return "\n".join(lines)


def _sorted_objects(manifest: str) -> list[str]:
    objects = [document for document in yaml.load_all(manifest, Loader=Loader) if document]
    objects.sort(key=lambda o: (o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]))
    return [line for o in objects for line in ("---", *yaml.safe_dump(o, sort_keys=True, width=1000).splitlines())]


def _plain(values: Values) -> Mapping[str, object]:
    """Values as Helm returns them: through JSON, so that tuples and integer keys do not count as differences."""
    plain: dict[str, object] = msgspec.json.decode(msgspec.json.encode(values))
    return plain


def _chart_version(chart: Path) -> str:
    return str(yaml.safe_load((chart / "Chart.yaml").read_text("utf-8"))["version"])
