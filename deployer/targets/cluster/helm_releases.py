"""A release as two Helm releases: their values are the truth about versions, labels and weights."""

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
from gateway.spec.text import Loader, load
from tfserving.config import ConfigError, ModelServerConfig, Specific

TF_SERVING = "tf-serving"
GATEWAY = "gateway"
SET_BY_CHART = ("version", "backends")
"""Keys of the gateway's settings that the chart writes itself."""

APPLY_TIMEOUT = 120.0
PENDING_SECONDS, LOOK_SECONDS = 20.0, 0.5
"""How long, and how often, a helm is looked after that works on a release already: that of a deployer which was killed
ends by itself."""


def charts_directory() -> Path:
    """Where the two charts are: beside the package in a checkout, inside it when installed.

    Errors: TargetError.
    """
    package = Path(__file__).resolve().parents[2]
    for place in (package / "charts", package.parent / "charts"):
        if (place / TF_SERVING / "Chart.yaml").exists():
            return place
    raise TargetError("the charts are not installed", hint="reinstall the package, or run from a checkout")


@dataclass(frozen=True, kw_only=True)
class Change:
    """What an upgrade of one Helm release would do: `diff` is unified, of manifests; empty when nothing changes."""

    name: str
    chart: Path
    values: Values
    before: HelmRelease | None
    diff: str

    @property
    def needed(self) -> bool:
        """Whether anything would be different afterwards."""
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
        """What it would take to bring one of the two (`TF_SERVING`, `GATEWAY`) to these values; nothing is touched."""
        name = self.names.tf_serving if chart == TF_SERVING else self.names.gateway
        before = self._helm.release(name)
        if before is not None and before.pending:
            raise self._busy(before)
        after = self._helm.preview(name, self.charts / chart, values)
        diff = manifest_diff(before.manifest if before else "", after.manifest, name)
        return Change(name=name, chart=self.charts / chart, values=_plain(values), before=before, diff=diff)

    def apply(self, change: Change, *, timeout: float = APPLY_TIMEOUT) -> int:
        """Carry a change out; the new revision. Pods are not waited for."""
        return self._helm.apply(change.name, change.chart, change.values, timeout=timeout).revision

    def put_models(self, text: str, *, replicas: int) -> None:
        """Have the values of the model servers' release say the versions and labels of a model_config, and else what
        they say; nothing is done when they do.

        `replicas` is how many run now: helm would set a scale that is not in the values back.

        Errors: SpecError for a text that the chart could not write, TargetError when nothing is installed.
        """
        self._put(TF_SERVING, {"models": models_of(text)}, replicas)

    def put_gateway(self, text: str, *, replicas: int) -> None:
        """Have the values of the gateways' release say these settings, and else what they say, as `put_models`.

        Errors: SpecError for settings that the gateway would refuse, TargetError when nothing is installed.
        """
        self._put(GATEWAY, {"config": gateway_values(text)}, replicas)

    def uninstall(self, *, timeout: float) -> tuple[str, ...]:
        """Remove both, gateways first; the claim of the models stays. Returns the names of those that were there."""
        there = [r.name for r in (self.gateway(), self.tf_serving()) if r is not None]
        for name in there:
            self._helm.uninstall(name, timeout=timeout)
        return tuple(there)

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
            cause="another helm works on it, or was killed while it did",
            hint=f"wait for it; if none runs: `helm rollback {found.name} -n {self.namespace}`, "
            "or `helm uninstall` after a first install",
        )

    def _settled(self, chart: str) -> HelmRelease | None:
        """The release once no helm works on it any more. Errors: TargetError when one goes on and on."""
        waited = 0.0
        while True:
            found = self.tf_serving() if chart == TF_SERVING else self.gateway()
            if found is None or not found.pending:
                return found
            if waited >= PENDING_SECONDS:
                raise self._busy(found)
            self._sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS

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
        """A change of versions or weights must not bring another chart along, which could restart every pod."""
        wanted = f"{chart}-{_chart_version(self.charts / chart)}"
        if f"helm.sh/chart: {wanted}\n" not in found.manifest:
            raise TargetError(
                f"{found.name} was installed by another version of the chart than {wanted}",
                hint="`deployer deploy` upgrades it first; then try again",
            )


def _scaled(values: Values, replicas: int) -> Values:
    """The values with the scale that runs; with an autoscaler the chart writes none, and nothing can be set back."""
    autoscaling = values.get("autoscaling")
    held = isinstance(autoscaling, dict) and autoscaling.get("enabled")
    return values if held else {**values, "replicaCount": replicas}


def models_of(text: str) -> list[dict[str, object]]:
    """A model_config as the value `models` of the tf-serving chart. Errors: SpecError."""
    try:
        config = ModelServerConfig.parse(text)
    except ConfigError as error:
        raise SpecError("the model_config cannot be read", hint="`deployer render` writes one that can") from error
    found: list[dict[str, object]] = []
    for model in config.models:
        if not isinstance(model.policy, Specific):
            raise SpecError(
                f"model {model.name} has no fixed list of versions", hint="name each version: labels need them"
            )
        entry: dict[str, object] = {"name": model.name}
        if model.base_path != f"{MODELS_MOUNT}/{model.name}":  # the chart's own choice is left to the chart
            entry["basePath"] = model.base_path
        found.append({**entry, "versions": list(model.policy.versions), "labels": dict(model.labels)})
    return found


def gateway_values(text: str) -> dict[str, object]:
    """The gateway's settings as the value `config` of its chart. Errors: SpecError."""
    try:
        parse_settings(text)
    except SettingsError as error:
        raise SpecError(
            "the gateway configuration cannot be used", hint="`deployer render` writes one that can"
        ) from error
    document = load(text)
    return {key: value for key, value in document.items() if key not in SET_BY_CHART}


def manifest_diff(before: str, after: str, name: str) -> str:
    """Unified diff of two manifests, object by object in a stable order, so that a moved object is no change."""
    lines = difflib.unified_diff(
        _sorted_objects(before), _sorted_objects(after), f"{name} (live)", f"{name} (new)", lineterm=""
    )
    return "\n".join(lines)


def _sorted_objects(manifest: str) -> list[str]:
    objects = [document for document in yaml.load_all(manifest, Loader=Loader) if document]
    objects.sort(key=lambda o: (o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]))
    return [line for o in objects for line in ("---", *yaml.safe_dump(o, sort_keys=True, width=1000).splitlines())]


def _plain(values: Values) -> Mapping[str, object]:
    """Values as Helm gives them back: through JSON, so that a comparison does not see tuples or integer keys."""
    plain: dict[str, object] = msgspec.json.decode(msgspec.json.encode(values))
    return plain


def _chart_version(chart: Path) -> str:
    return str(yaml.safe_load((chart / "Chart.yaml").read_text("utf-8"))["version"])
