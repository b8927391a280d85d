"""`deployer render`: the files of a release, written to a directory or only shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deployer.domain.location import DirectoryStore
from deployer.domain.release import Model, Release
from deployer.domain.serving import STABLE, ModelState, ServingConfig, first_state
from deployer.domain.store import version_of
from deployer.errors import SpecError, UsageError
from deployer.files import replace_file
from deployer.release import spec
from deployer.release.render import render_release
from deployer.targets.base import Progress
from gateway.spec.statistics import with_statistics

FEATURES = "assets.extra/features.yaml"
STATISTICS = "assets.extra/statistics.json"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The user's choice for one model; the default is the newest version, as stable, with all traffic."""

    versions: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

    def named(self) -> tuple[int, ...]:
        """The chosen versions, directly or by a label; empty if none are chosen."""
        return self.versions or tuple(sorted(set(self.labels.values())))

    def state(self, available: Collection[int]) -> ModelState:
        """The resulting state. Errors: ValueError for an impossible state."""
        if not self.named():
            first = first_state(available)
            return replace(first, weights=self.weights) if self.weights else first
        labels = self.labels or {STABLE: max(self.named())}
        weights = self.weights or ({STABLE: 100.0} if STABLE in labels else {})
        return ModelState(versions=self.named(), labels=labels, weights=weights)


@dataclass(frozen=True, kw_only=True)
class RenderRequest:
    """What to render; `choices` by model name. `output` None means the current directory."""

    file: Path
    output: Path | None = None
    choices: Mapping[str, Choice] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RenderedFile:
    """One file; `action` is "created", "updated" or "unchanged", also for a dry run."""

    path: str
    action: str
    text: str


@dataclass(frozen=True, kw_only=True)
class RenderResult:
    """The files that were written, or would be."""

    release: str
    state: ServingConfig
    flags: tuple[str, ...]
    files: tuple[RenderedFile, ...]
    written: bool


def render(request: RenderRequest, progress: Progress, *, dry_run: bool = False) -> RenderResult:
    """Render a release. Files that are already correct are not written.

    Errors: SpecError, UsageError for an impossible choice, or a directory that cannot be written.
    """
    release = spec.load(request.file)
    state = choose(release, request.choices)
    rendered = render_release(release, state, feature_specs(release, state))
    directory = request.output or Path()
    files = tuple(
        RenderedFile(path=str(directory / name), action=_action(directory / name, text), text=text)
        for name, text in rendered.files.items()
    )
    if not dry_run:
        _write(files, progress)
    return RenderResult(release=release.name, state=state, flags=rendered.flags, files=files, written=not dry_run)


def choose(release: Release, choices: Mapping[str, Choice]) -> ServingConfig:
    """The chosen state, completed from the store.

    Errors: UsageError for an unknown model or an inconsistent choice, SpecError when nothing was chosen and the store
    cannot be listed, or when a chosen version is not in the store.
    """
    known = [model.name for model in release.models]
    for name in choices:
        if name not in known:
            raise UsageError(f"the release has no model {name!r}", hint=f"models: {', '.join(known)}")
    states = {}
    for name in known:
        choice = choices.get(name, Choice())
        if not choice.named() or isinstance(release.store, DirectoryStore):
            available = store_versions(release, name)
            _require(release, name, choice, available)
        else:
            available = ()
        try:
            states[name] = choice.state(available)
        except ValueError as error:
            raise UsageError(f"model {name}: {error}", hint="see --version, --label and --weight") from None
    return ServingConfig(models=states)


def _require(release: Release, model: str, choice: Choice, available: Collection[int]) -> None:
    """Reject a version that is not in the store: servers would wait for it, and its feature spec would be missing."""
    missing = sorted({*choice.named(), *choice.labels.values()} - set(available))
    if missing:
        raise SpecError(
            f"{release.store.base_path(model)} has no version {missing[0]} of model {model}",
            hint=f"versions: {', '.join(map(str, available))}",
        )


def store_versions(release: Release, model: str) -> tuple[int, ...]:
    """The versions of a model in a directory store, ascending.

    Errors: SpecError when the store is a PVC, which only a pod can read, or has no version of the model.
    """
    if not isinstance(release.store, DirectoryStore):
        raise SpecError(
            f"the versions of {model} are in a PVC and cannot be listed from here",
            hint=f"specify them: --version {model}=1 --label {model}:stable=1",
        )
    base = Path(release.store.base_path(model))
    names = [entry.name for entry in base.iterdir() if entry.is_dir()] if base.is_dir() else []
    versions = sorted(number for name in names if (number := version_of(name)) is not None and number >= 1)
    if not versions:
        raise SpecError(
            f"{base} has no version of model {model}", hint=f"publish one: `deployer export … --model {model}`"
        )
    return tuple(versions)


def feature_specs(release: Release, state: ServingConfig) -> dict[str, dict[int, str]]:
    """Text of features.yaml by model and version: the override in deployer.yaml, else that of the exported version.

    A PVC is not read; then only the overrides count. Errors: SpecError for an unreadable file.
    """
    return {
        model.name: {
            version: text
            for version in state.models[model.name].versions
            if (text := _feature_spec(release, model, version)) is not None
        }
        for model in release.models
        if model.name in state.models
    }


def _feature_spec(release: Release, model: Model, version: int) -> str | None:
    text = override(model, version)
    if text is not None or not isinstance(release.store, DirectoryStore):
        return text
    folder = Path(release.store.base_path(model.name)) / str(version)
    if not (folder / FEATURES).exists():
        return None
    text, seen = _text(model, version, folder / FEATURES, hint="check the store"), folder / STATISTICS
    return with_statistics(text, _text(model, version, seen, hint="check the store") if seen.exists() else None)


def override(model: Model, version: int) -> str | None:
    """The feature spec in deployer.yaml that replaces that of a version; None if there is none.

    Errors: SpecError when its file cannot be read.
    """
    path = model.features.get(version)
    if path is None:
        return None
    return _text(model, version, Path(path), hint=f"check models[].features in deployer.yaml: {path}")


def _text(model: Model, version: int, path: Path, *, hint: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"the feature spec of {model.name} version {version} cannot be read", hint=hint) from error


def _action(path: Path, text: str) -> str:
    try:
        return "unchanged" if path.read_bytes() == text.encode() else "updated"
    except FileNotFoundError:
        return "created"
    except OSError as error:
        raise UsageError(f"{path} cannot be read", hint="choose another directory with --output-dir") from error


def _write(files: tuple[RenderedFile, ...], progress: Progress) -> None:
    for file in files:
        path = Path(file.path)
        if file.action != "unchanged":
            try:
                replace_file(path, file.text.encode())
            except OSError as error:
                raise UsageError(
                    f"{path} cannot be written", hint="choose another directory with --output-dir"
                ) from error
        progress(f"{file.path} {file.action}")
