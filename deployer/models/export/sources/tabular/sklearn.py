"""scikit-learn models: a skops file, or with trust a joblib or pickle file, which runs code while it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deployer.errors import ExportError
from deployer.models.export.sources.tabular import sklearn_linear, sklearn_trees
from deployer.models.export.sources.tabular.forest import Keep
from deployer.models.export.sources.tabular.head import plain_labels
from deployer.models.export.sources.tabular.model import Column, Tabular, extra, unsupported
from tfserving.wire.tensors import Array

HARMLESS = (
    "functools.partial",
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "sklearn.utils.validation.check_array",
)
"""Types that skops leaves to its caller and that are read without --trust: they run no code, and node numbers of trees,
which could point outside of memory, are checked here before the library sees them."""

KINDS: dict[str, Callable[[Any], Tabular]] = sklearn_trees.KINDS | sklearn_linear.KINDS


def load(path: Path, *, trust: bool) -> Tabular:
    """The model in a file. Errors: ExportError, also for a file that needs trust and has none."""
    with extra("scikit-learn"):
        import sklearn  # noqa: F401  # both kinds of files need it
    return _converted(_skops(path, trust=trust) if path.suffix == ".skops" else _joblib(path, trust=trust))


def _skops(path: Path, *, trust: bool) -> Any:
    with extra("skops"):
        from skops import io
    try:
        found = io.get_untrusted_types(file=path)
        foreign = sorted(set(found) - set(HARMLESS))
        if not foreign or trust:
            return io.load(path, trusted=found)
    except Exception as error:  # whatever a file can contain
        raise ExportError(
            f"{path} cannot be read as a model of scikit-learn",
            cause=f"{type(error).__name__}: {error}",
            hint="write it with skops.io.dump(model, path), with the scikit-learn that is installed here",
        ) from error
    raise ExportError(
        f"{path} holds types whose code would run while it is read",
        cause=", ".join(foreign),
        hint="--trust reads it, for a file of your own",
    )


def _joblib(path: Path, *, trust: bool) -> Any:
    if not trust:
        raise ExportError(
            f"{path} may run code of its own while it is read",
            hint="--trust reads it, for a file of your own; better is skops.io.dump(model, 'model.skops')",
        )
    with extra("joblib"):
        import joblib
    try:
        return joblib.load(path)
    except Exception as error:  # a pickle runs anything
        raise ExportError(
            f"{path} cannot be read as a model of scikit-learn",
            cause=f"{type(error).__name__}: {error}",
            hint="write it with joblib.dump(model, path), with the scikit-learn that is installed here",
        ) from error


def _converted(model: Any) -> Tabular:
    steps = [model]
    if _kind(model) == "Pipeline":
        steps = [step for _, step in model.steps if step not in (None, "passthrough")]
    *before, last = steps or [model]
    for step in before:
        if _kind(step) != "StandardScaler":
            raise unsupported(
                f"a pipeline with {type(step).__name__}",
                "only StandardScaler goes before a model; do other steps in the feature spec, or hand over a "
                "package.module:function that returns a tf.Module",
            )
    found = KINDS[_kind(last)](last) if _kind(last) in KINDS else _refuse(last)
    for step in reversed(before):
        found = _scaled(found, step)
    if before:
        found = replace(found, dtype="float64")  # as which a scaler computes
    names = getattr(model, "feature_names_in_", ())
    return replace(found, ask=lambda rows: _ask(model, found, rows), names=[str(name) for name in names])


def _kind(model: Any) -> str:
    """The name of a class of scikit-learn itself; a third-party class may predict otherwise."""
    return type(model).__name__ if type(model).__module__.startswith("sklearn.") else ""


def _refuse(model: Any) -> Tabular:
    top = type(model).__module__.partition(".")[0]
    if top in ("xgboost", "lightgbm"):
        call = "model.save_model('model.json')" if top == "xgboost" else "model.booster_.save_model('model.txt')"
        raise unsupported(f"a pickled model of {top}", f"write it with {call}, and export that")
    raise unsupported(f"a model of the class {type(model).__name__}", f"these can be: {', '.join(sorted(KINDS))}")


def _scaled(model: Tabular, scaler: Any) -> Tabular:
    """The model on rows as they are before the scaler."""
    width = int(scaler.n_features_in_)
    mean = scaler.mean_ if scaler.with_mean else np.zeros(width)
    scale = scaler.scale_ if scaler.with_std else np.ones(width)

    def sums(keep: Keep) -> Callable[[Any], Any]:
        inner, shift, divisor = model.sums(keep), keep(mean), keep(scale)
        return lambda rows: inner((rows - shift) / divisor)

    columns = [
        Column(cuts=column.cuts * scale[at] + mean[at], missing=column.missing) if column.categories is None else column
        for at, column in enumerate(model.columns)
    ]
    return replace(model, sums=sums, columns=columns)


def _ask(model: Any, found: Tabular, rows: Array) -> dict[str, Array]:
    if found.head.labels is None:
        return {"values": np.asarray(model.predict(rows), np.float64)}
    return {
        "probabilities": np.asarray(model.predict_proba(rows), np.float64),
        "classes": plain_labels(model.predict(rows)),
    }
