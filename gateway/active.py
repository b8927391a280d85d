"""The config in force, made ready: an immutable snapshot that requests keep while a newer one takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.drift import Watch
from gateway.postprocess.interpret import Interpreter
from gateway.preprocess import Compiled, RateProblem, Rates, RateTable, compile_spec
from gateway.routing.labels import NEWEST, Choice, Router
from gateway.settings import ModelSettings, Settings, SettingsError, parse_settings, settings_hash
from gateway.spec import FeatureSpec, SpecProblem

ASSETS = "assets.extra"
"""The folder of a version with what belongs to it and is not TensorFlow's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version with a feature spec: how its records become a tensor and its output a response."""

    number: int
    spec: FeatureSpec
    compiled: Compiled
    interpreter: Interpreter


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model of the config. `resolved` is what answers have shown labels to mean; it is learned while serving.

    `watches` are those of the versions that know what training saw.
    """

    name: str
    settings: ModelSettings
    router: Router | None
    versions: Mapping[int, Version]
    watches: Mapping[int, Watch] = field(default_factory=dict)
    resolved: dict[Choice, int] = field(default_factory=dict)

    def choose(self, key: str | None, chance: float) -> Choice:
        """Where a request that names neither label nor version goes."""
        return self.router.choose(key, chance) if self.router is not None else NEWEST

    def expected_version(self, choice: Choice) -> int | None:
        """The version that a choice should resolve to: itself, else what was learned, else what the config says."""
        if choice.version is not None:
            return choice.version
        if (known := self.resolved.get(choice)) is not None:
            return known
        if choice.label is not None:
            return self.settings.labels.get(choice.label)
        return max(self.versions, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """A config file, parsed and compiled. `hash` names its exact bytes."""

    settings: Settings
    hash: str
    models: Mapping[str, Model]
    rates: Rates | None


def activate(text: str, table: RateTable | None) -> Active:
    """Make a config ready; `table` is the content of its rates file when it names one.

    Errors: SettingsError naming the path, also for a feature spec that cannot be compiled.
    """
    settings = parse_settings(text)
    rates = _rates(settings, table)
    models = {name: _model(name, model, rates, settings.limits.image_pixels) for name, model in settings.models.items()}
    return Active(settings=settings, hash=settings_hash(text), models=models, rates=rates)


def _rates(settings: Settings, table: RateTable | None) -> Rates | None:
    if settings.rates is None:
        return None
    if table is not None:
        return Rates(table)
    try:
        return Rates(RateTable(base=settings.rates.base, rates=settings.rates.table or {}))
    except RateProblem as error:
        raise SettingsError(f"rates: {error}") from error


def _files(folder: str | None, version: int) -> Path | None:
    """Where the files of a version are; TensorFlow Serving also takes version 1 as `001`."""
    if folder is None:
        return None
    base = Path(folder)
    named = base / str(version)
    if not named.exists() and base.is_dir():
        named = next((one for one in base.iterdir() if one.name.isdecimal() and int(one.name) == version), named)
    return named / ASSETS


def _model(name: str, settings: ModelSettings, rates: Rates | None, image_pixels: int) -> Model:
    versions: dict[int, Version] = {}
    watches: dict[int, Watch] = {}
    for key, spec in settings.specs.items():
        try:
            files = _files(settings.files, int(key)) if spec.vocabularies else None
            compiled = compile_spec(spec, rates, image_pixels=image_pixels, files=files)
            interpreter = Interpreter(spec.output)
        except SpecProblem as error:
            raise SettingsError(f"models.{name}.specs.{key}.{error}") from error
        if spec.statistics is not None:
            watches[int(key)] = Watch(spec, spec.statistics, rates, files)
        versions[int(key)] = Version(number=int(key), spec=spec, compiled=compiled, interpreter=interpreter)
    router = Router(settings.routing) if settings.routing is not None else None
    return Model(name=name, settings=settings, router=router, versions=versions, watches=watches)
