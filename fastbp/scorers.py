"""scikit-learn's scorers by name, for predictions that have been made already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer, get_scorer_names


def names() -> list[str]:
    """Names of all scorers."""
    return list(get_scorer_names())


class _Made:
    """An estimator that gives predictions which it has been given."""

    def __init__(self, predictions: NDArray[Any]) -> None:
        self.predictions = predictions

    def predict(self, X: Any) -> NDArray[Any]:
        return self.predictions


class _Regressor(RegressorMixin, _Made, BaseEstimator):  # type: ignore[misc]  # untyped
    """Numbers."""


class _Classifier(ClassifierMixin, _Made, BaseEstimator):  # type: ignore[misc]  # untyped
    """Labels, and a probability for each of the classes."""

    def __init__(
        self, predictions: NDArray[Any], probabilities: NDArray[Any], classes: Sequence[Any]
    ) -> None:
        self.predictions, self.probabilities, self.classes = predictions, probabilities, classes
        self.classes_ = np.asarray(classes)

    def predict_proba(self, X: Any) -> NDArray[Any]:
        return self.probabilities


def score(
    name: str,
    y_true: NDArray[Any],
    predictions: NDArray[Any],
    probabilities: NDArray[Any] | None = None,
    classes: Sequence[Any] = (),
) -> float:
    """What a scorer gives; for a classification with probabilities of the classes."""
    made = (
        _Regressor(predictions)
        if probabilities is None
        else _Classifier(predictions, probabilities, classes)
    )
    return float(get_scorer(name)(made, np.empty((len(y_true), 0)), y_true))
