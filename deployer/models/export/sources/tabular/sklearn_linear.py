"""Linear models of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from deployer.models.export.sources.tabular.head import Head, Link, Tie, plain_labels
from deployer.models.export.sources.tabular.linear import linear
from deployer.models.export.sources.tabular.model import Column, Refuses, Tabular, unsupported


def _regression(model: Any, link: Link = Link.IDENTITY) -> Tabular:
    return _tabular(model, Head(link=link))


def _exponential(model: Any) -> Tabular:
    return _regression(model, Link.EXP)


def _tweedie(model: Any) -> Tabular:
    identity = model.link == "identity" or (model.link == "auto" and model.power <= 0)
    return _regression(model, Link.IDENTITY if identity else Link.EXP)


def _logistic(model: Any) -> Tabular:
    two = len(model.classes_) == 2
    return _tabular(
        model,
        Head(
            link=Link.SIGMOID if two else Link.SOFTMAX,
            labels=plain_labels(model.classes_),
            tie=Tie.ABOVE,
        ),
    )


def _sgd(model: Any) -> Tabular:
    if model.loss != "log_loss":
        raise unsupported(
            f"a SGDClassifier with the loss {model.loss}", "train it with loss='log_loss', which has probabilities"
        )
    two = len(model.classes_) == 2
    labels = plain_labels(model.classes_)
    return _tabular(model, Head(link=Link.SIGMOID if two else Link.SHARES, labels=labels, tie=Tie.ABOVE))


def _tabular(model: Any, head: Head) -> Tabular:
    weights = np.atleast_2d(np.asarray(model.coef_, np.float64)).T
    intercept = np.broadcast_to(np.asarray(model.intercept_, np.float64), weights.shape[1:]).copy()
    return Tabular(
        dtype="float64",
        columns=[Column() for _ in weights],
        sums=linear(weights, intercept),
        head=head,
        ask=lambda rows: {},
        refuses=Refuses.MISSING,
    )


KINDS: dict[str, Callable[[Any], Tabular]] = {
    **dict.fromkeys(
        (
            "LinearRegression",
            "Ridge",
            "RidgeCV",
            "Lasso",
            "LassoCV",
            "ElasticNet",
            "ElasticNetCV",
            "HuberRegressor",
            "QuantileRegressor",
            "SGDRegressor",
        ),
        _regression,
    ),
    "PoissonRegressor": _exponential,
    "GammaRegressor": _exponential,
    "TweedieRegressor": _tweedie,
    "LogisticRegression": _logistic,
    "LogisticRegressionCV": _logistic,
    "SGDClassifier": _sgd,
}
