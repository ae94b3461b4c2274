"""scikit-learn's estimators of `fastbp.sklearn` for Dask collections."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import dask
import numpy as np
from dask.dataframe.dispatch import make_meta, meta_nonempty
from numpy.typing import NDArray

from fastbp import sklearn
from fastbp.dask.partitions import changed, in_rows, is_array, is_rows, parts_of
from fastbp.dask.predictions import predict


class _OfPartitions:
    """`fit` and predictions for Dask collections, beside those for arrays."""

    _partitions: Any = None  # while a fit to collections is going on

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, eval_set: Any = None) -> Any:
        """Fit the model.

        Parameters
        ----------
        X : dask array or data frame of shape (n_samples, n_features)
            Or what `fastbp.sklearn` takes, which is fitted as there.
        y : dask array, series or data frame of shape (n_samples,) or (n_samples, n_outputs)
            In as many partitions.
        sample_weight : dask array or series, optional
            Likewise.
        eval_set : (X, y), optional
            In memory; as in `fastbp.sklearn`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As there, and for what a stream cannot do: the solver lbfgs, ``early_stopping``
            without ``eval_set``, ``class_weight``, ``warm_start``, and the loss poisson.
        """
        if not is_rows(X):
            return super().fit(X, y, sample_weight, eval_set=eval_set)  # type: ignore[misc]
        self._refuse(eval_set)
        changed(X, y, sample_weight, None)  # raises ValueError before anything is computed
        n, template = _rows_and_template(X, y, isinstance(self, sklearn.MLPClassifier))
        mean = 1.0
        if sample_weight is not None:  # with a mean of 1, as in memory
            mean = float(sample_weight.sum().compute()) / n
            if not mean > 0:
                raise ValueError(f"sample_weight must be above 0 somewhere, got a mean of {mean}.")
            sample_weight = sample_weight / mean
        self._partitions = X, y, sample_weight, n, mean
        try:
            return super().fit(*template, eval_set=eval_set)  # type: ignore[misc]
        finally:
            del self._partitions

    def _refuse(self, eval_set: Any) -> None:
        """Refuse parameters that a fit to collections has no way to follow."""
        parameters = self.get_params(deep=False)  # type: ignore[attr-defined]
        for name, value, hint in (
            ("solver", "lbfgs", ": sgd and adam are possible"),
            ("loss", "poisson", ""),
            ("warm_start", True, ""),
            ("early_stopping", eval_set is None, " without an eval_set"),
        ):
            if value and parameters.get(name) == value:
                raise ValueError(f"{name} must not be {value!r} for Dask collections{hint}.")
        if parameters.get("class_weight") is not None:
            raise ValueError(
                "class_weight must be None for Dask collections: give sample_weight instead."
            )

    def _fit(self, X: Any, y: Any, *others: Any, **options: Any) -> Any:
        if is_rows(X):
            raise ValueError("partial_fit takes arrays; for Dask collections there is fit.")
        return super()._fit(X, y, *others, **options)  # type: ignore[misc]

    def _fit_stochastic(self: Any, X: Any, y: Any, *others: Any) -> None:
        """Train on the partitions, where ``X`` and ``y`` only show what they are like."""
        if self._partitions is None:
            super()._fit_stochastic(X, y, *others)  # type: ignore[misc]
            return
        X_given, y_given, weight, n, mean = self._partitions
        change = None
        if binarizer := getattr(self, "_label_binarizer", None):
            change = functools.partial(_encoded, binarizer, self.out_activation_ == "softmax")
        self._fit_pieces(changed(X_given, y_given, weight, change), n, y, mean)

    def predict(self, X: Any) -> Any:
        """Predict.

        Parameters
        ----------
        X : dask array or data frame of shape (n_samples, n_features)
            Or what `fastbp.sklearn` takes.

        Returns
        -------
        dask array, series or data frame
            As `fastbp.dask.predict`; for arrays an array.
        """
        return predict(self, X) if is_rows(X) else super().predict(X)  # type: ignore[misc]


class MLPClassifier(_OfPartitions, sklearn.MLPClassifier):
    """`fastbp.sklearn.MLPClassifier`, whose `fit` and predictions take Dask collections, too.

    Parameters, attributes and results are as there, but for the order of rows: with ``shuffle``
    they are drawn from a window, as `fastbp.Trainer.fit_stream` does. A pass over y finds the
    classes. Predictions are collections: nothing is computed until they are asked for.

    Examples
    --------
    >>> import dask.array
    >>> X = dask.array.random.default_rng(0).normal(size=(600, 2), chunks=(100, 2))
    >>> y = (X[:, 0] > X[:, 1]).astype("int64")
    >>> mlp = MLPClassifier(random_state=0, learning_rate_init=0.01, tol=0.01).fit(X, y)
    >>> float((mlp.predict(X) == y).mean()) > 0.9
    True
    """

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of each class, or of each label.

        Parameters
        ----------
        X : dask array or data frame of shape (n_samples, n_features)
            Or what `fastbp.sklearn` takes.

        Returns
        -------
        dask array or data frame of shape (n_samples, n_classes)
            As `fastbp.dask.predict`; for arrays an array.
        """
        return predict(self, X, "predict_proba") if is_rows(X) else super().predict_proba(X)

    def predict_log_proba(self, X: Any) -> Any:
        """Their logarithms; arguments and results as `predict_proba`.

        Parameters
        ----------
        X : dask array or data frame of shape (n_samples, n_features)
            Or what `fastbp.sklearn` takes.

        Returns
        -------
        dask array or data frame of shape (n_samples, n_classes)
            Or an array.
        """
        return predict(self, X, "predict_log_proba") if is_rows(X) else super().predict_log_proba(X)


class MLPRegressor(_OfPartitions, sklearn.MLPRegressor):
    """`fastbp.sklearn.MLPRegressor`, whose `fit` and predictions take Dask collections, too.

    All else as `MLPClassifier`.
    """


def _rows_and_template(X: Any, y: Any, is_classifier: bool) -> tuple[int, tuple[Any, Any]]:
    """Number of rows, and arrays or frames that are like X and y, with every class."""
    look = dask.delayed(_look, pure=False)
    seen = dask.compute(*(look(part, is_classifier) for part in parts_of(in_rows(y))))
    n = sum(each.n for each in seen)
    found = np.concatenate([each.labels for each in seen])
    if is_classifier and found.ndim == 1:
        found = np.unique(found)
    return n, (_like(X, len(found)), found)


class _Seen(NamedTuple):
    """What a partition of y holds."""

    n: int
    labels: NDArray[Any]
    """All that there are; of several columns some rows, which show what they are like."""


def _look(y: Any, is_classifier: bool) -> _Seen:
    """On a worker."""
    rows = np.asarray(y)
    if is_classifier and rows.ndim == 2 and rows.shape[1] == 1:
        return _Seen(len(rows), np.unique(rows.ravel())[:, np.newaxis])
    if is_classifier:
        found = np.unique(rows, axis=0)
        return _Seen(len(rows), found if rows.ndim == 1 else found[:3])
    return _Seen(len(rows), rows[:2])


def _like(X: Any, n: int) -> Any:
    """Zeros like so many rows of X."""
    if is_array(X):
        return np.zeros((n, X.shape[1]), X.dtype)
    return meta_nonempty(make_meta(X)).iloc[[0] * n]


def _encoded(binarizer: Any, is_one: bool, X: Any, y: Any, *weight: Any) -> tuple[Any, ...]:
    """A piece whose labels are numbers of classes, or rows of truth values."""
    rows = binarizer.transform(np.asarray(y))
    return X, np.argmax(rows, axis=1) if is_one else rows, *weight
